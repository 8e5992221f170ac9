-- Candidates still without pairs, and whether the rules other than duplicate and novelty passed them.
SELECT c.id, c.instruction,
       NOT EXISTS (SELECT 1 FROM candidate_verdicts v
                   WHERE v.candidate_id = c.id AND v.passed = 0 AND v.rule NOT IN ('duplicate', 'novelty')) AS passed
FROM candidates c
WHERE c.id > :covered
ORDER BY c.id;
