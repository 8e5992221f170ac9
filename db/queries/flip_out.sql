-- Samples of :candidate that are of the other kind leave the queue; a person's accepted and rejected ones stay.
UPDATE samples SET state = 'filtered', rejected_by = :reason
WHERE candidate_id = :candidate
  AND (state IN ('pending', 'waiting') OR (state = 'filtered' AND rejected_by IS NULL))
  AND (SELECT call.template = 'output_first' FROM completions call WHERE call.id = samples.completion_id)
      <> (SELECT c.is_classification FROM candidates c WHERE c.id = :candidate);
