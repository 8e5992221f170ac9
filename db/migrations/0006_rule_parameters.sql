-- With which parameters a rule gave its verdict: a JSON object of those that were not the shipped ones, '' where all
-- were. A replay by other parameters judges anew.
ALTER TABLE candidate_verdicts ADD COLUMN parameters TEXT NOT NULL DEFAULT '';
ALTER TABLE replay_verdicts ADD COLUMN parameters TEXT NOT NULL DEFAULT '';

-- A replay asks by which rules the candidates were judged: half a million verdicts, answered from the index alone.
CREATE INDEX candidate_verdicts_by_rule ON candidate_verdicts (rule, tokenizer, parameters, position);
