-- Store the new verdicts of a replay where they differ from the journalled old ones.
INSERT INTO candidate_verdicts (candidate_id, rule, position, passed, score, threshold, neighbour_seed_id,
                                neighbour_candidate_id, detail, tokenizer, parameters)
SELECT new.candidate_id, new.rule, new.position, new.passed, new.score, new.threshold,
       new.neighbour_seed_id, new.neighbour_candidate_id, new.detail, new.tokenizer,
       new.parameters
FROM replay_verdicts old
JOIN temp.new_verdicts new ON new.candidate_id = old.candidate_id AND new.rule = old.rule
WHERE old.replay_id = :replay;
