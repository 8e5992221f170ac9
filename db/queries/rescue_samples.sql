-- Samples that left the queue with their instruction (:candidate, rejected by :rule) come back with it; those that a rule
-- of their own threw out, or on which a person has had a say, stay where they are.
UPDATE samples SET state = 'pending', rejected_by = NULL
WHERE candidate_id = :candidate AND state = 'filtered' AND rejected_by = :rule
  AND NOT EXISTS (SELECT 1 FROM sample_verdicts v WHERE v.sample_id = samples.id AND v.passed = 0)
  AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.sample_id = samples.id AND d.undone_at IS NULL);
