-- Put back the samples that a replay moved, save for those on which a person has had a say since.
UPDATE samples SET state = r.from_state, rejected_by = r.from_rejected_by
FROM replay_samples r
WHERE r.replay_id = :replay AND r.sample_id = samples.id AND samples.state = r.to_state
  AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.sample_id = samples.id AND d.undone_at IS NULL);
