-- Samples whose output :model is to write anew, oldest first: those that wait for it, or (:regenerate = 1) pending ones.
-- With :wanted = 1 only those of instructions that a person flipped or rescued (as store/wanted.py says it).
SELECT s.id, s.candidate_id, s.revision, s.state, r.instruction, r.input, r.output
FROM samples s
JOIN sample_revisions r ON r.sample_id = s.id AND r.revision = s.revision
JOIN candidates c ON c.id = s.candidate_id
WHERE s.state = CASE :regenerate WHEN 1 THEN 'pending' ELSE 'waiting' END
  AND r.author = 'model'
  AND c.stage <> 'rejected'
  AND (:regenerate = 0 OR NOT EXISTS (
      SELECT 1 FROM completions call
      WHERE call.sample_id = s.id AND call.template = 'output' AND call.model = :model
        AND call.finish_reason <> 'error'))
  AND (:regenerate = 0 OR :tries > (
      SELECT count(*) FROM completions call
      WHERE call.sample_id = s.id AND call.template = 'output' AND call.model = :model
        AND call.finish_reason = 'error'))
  AND (:wanted = 0 OR c.id IN (
      SELECT f.candidate_id FROM flips f CROSS JOIN decisions d ON d.batch = f.batch WHERE d.undone_at IS NULL
      UNION ALL SELECT candidate_id FROM rescues WHERE undone_at IS NULL))
ORDER BY s.id
LIMIT :limit;
