-- Take out the verdicts that a replay has journalled; also what it gave, when it is undone.
DELETE FROM candidate_verdicts
WHERE (candidate_id, rule) IN (SELECT candidate_id, rule FROM replay_verdicts WHERE replay_id = :replay);
