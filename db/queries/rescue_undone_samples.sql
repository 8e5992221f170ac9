-- The rescue of :candidate is taken back: its samples leave the queue, save for those on which a person has had a say.
UPDATE samples SET state = 'filtered', rejected_by = :rule
WHERE candidate_id = :candidate AND state = 'pending'
  AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.sample_id = samples.id AND d.undone_at IS NULL);
