-- Journal that a replay gives verdicts where there was none.
INSERT INTO replay_verdicts (replay_id, candidate_id, rule, existed)
SELECT :replay, new.candidate_id, new.rule, 0
FROM temp.new_verdicts new
WHERE NOT EXISTS (SELECT 1 FROM candidate_verdicts old
                  WHERE old.candidate_id = new.candidate_id AND old.rule = new.rule);
