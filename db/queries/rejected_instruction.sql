-- Why an instruction was thrown out, and its nearest neighbour's text.
SELECT v.rule, v.score, v.threshold, v.detail, c.instruction,
       CASE WHEN v.neighbour_seed_id IS NOT NULL THEN 'seed ' || v.neighbour_seed_id
            WHEN v.neighbour_candidate_id IS NOT NULL THEN 'candidate ' || v.neighbour_candidate_id END,
       coalesce(s.instruction, o.instruction)
FROM candidates c
JOIN candidate_verdicts v ON v.candidate_id = c.id AND v.rule = c.rejected_by
LEFT JOIN seed_revisions s ON s.seed_id = v.neighbour_seed_id
    AND s.revision = (SELECT e.revision FROM seeds e WHERE e.id = v.neighbour_seed_id)
LEFT JOIN candidates o ON o.id = v.neighbour_candidate_id
WHERE c.id = :id;
