-- Put back the verdicts that a replay took the place of.
INSERT INTO candidate_verdicts (candidate_id, rule, position, passed, score, threshold, neighbour_seed_id,
                                neighbour_candidate_id, detail, tokenizer, parameters)
SELECT candidate_id, rule, position, passed, score, threshold, neighbour_seed_id, neighbour_candidate_id, detail,
       tokenizer, parameters
FROM replay_verdicts
WHERE replay_id = :replay AND existed = 1;
