-- Put back the candidates that a replay moved.
UPDATE candidates SET stage = r.from_stage, rejected_by = r.from_rejected_by
FROM replay_candidates r
WHERE r.replay_id = :replay AND r.candidate_id = candidates.id;
