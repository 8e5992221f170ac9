-- The samples of the candidates whose ids are the JSON list :ids, whether a person has had a say on each, and whether
-- a rule of the instances threw it out.
SELECT s.id, s.candidate_id, s.state, s.rejected_by,
       EXISTS (SELECT 1 FROM decisions d WHERE d.sample_id = s.id AND d.undone_at IS NULL) AS decided,
       EXISTS (SELECT 1 FROM sample_verdicts v WHERE v.sample_id = s.id AND v.passed = 0) AS failed
FROM samples s
WHERE s.candidate_id IN (SELECT value FROM json_each(:ids))
ORDER BY s.id;
