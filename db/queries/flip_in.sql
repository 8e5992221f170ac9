-- Samples of :candidate that left the queue for being of the other kind, and are of its kind now, come back.
UPDATE samples SET state = CASE state WHEN 'filtered' THEN 'pending' ELSE state END, rejected_by = NULL
WHERE candidate_id = :candidate AND rejected_by = :reason
  AND (SELECT call.template = 'output_first' FROM completions call WHERE call.id = samples.completion_id)
      = (SELECT c.is_classification FROM candidates c WHERE c.id = :candidate);
