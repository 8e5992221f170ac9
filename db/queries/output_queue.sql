-- Samples whose output :model is to write anew, oldest first: those that wait for it, or (:regenerate = 1) pending ones.
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
ORDER BY s.id
LIMIT :limit;
