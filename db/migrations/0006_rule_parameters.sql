-- With which parameters a rule gave its verdict: a JSON object of those that were not the shipped ones, '' where all
-- were. A replay by other parameters judges anew.
ALTER TABLE candidate_verdicts ADD COLUMN parameters TEXT NOT NULL DEFAULT '';
ALTER TABLE replay_verdicts ADD COLUMN parameters TEXT NOT NULL DEFAULT '';
