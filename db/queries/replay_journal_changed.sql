-- Journal the verdicts that a replay's new ones differ from, and those of rules that apply no longer. The rules in the
-- JSON list :untouched keep the verdicts they have.
INSERT INTO replay_verdicts
SELECT :replay, old.candidate_id, old.rule, 1, old.position, old.passed, old.score, old.threshold,
       old.neighbour_seed_id, old.neighbour_candidate_id, old.detail, old.tokenizer, old.parameters
FROM candidate_verdicts old
LEFT JOIN temp.new_verdicts new ON new.candidate_id = old.candidate_id AND new.rule = old.rule
WHERE CASE WHEN new.rule IS NULL THEN old.rule NOT IN (SELECT value FROM json_each(:untouched))
      ELSE (old.position, old.passed, old.score, old.threshold, old.neighbour_seed_id, old.neighbour_candidate_id,
            old.detail, old.tokenizer, old.parameters)
           IS NOT (new.position, new.passed, new.score, new.threshold, new.neighbour_seed_id,
                   new.neighbour_candidate_id, new.detail, new.tokenizer, new.parameters) END;
