-- With which parameters a rule gave its verdict on a sample, as for candidates (0006): a JSON object of those that were
-- not the shipped ones, '' where all were. A replay judges the samples anew where the rules for instances have changed.
ALTER TABLE sample_verdicts ADD COLUMN parameters TEXT NOT NULL DEFAULT '';
CREATE INDEX sample_verdicts_by_rule ON sample_verdicts (rule, tokenizer, parameters);

-- The verdicts on samples that a replay took the place of: a JSON list of rows, in the order of the columns after
-- sample_id.
CREATE TABLE replay_sample_verdicts (
    replay_id INTEGER NOT NULL REFERENCES replays (id),
    sample_id INTEGER NOT NULL REFERENCES samples (id),
    verdicts  TEXT    NOT NULL CHECK (json_valid(verdicts)),
    PRIMARY KEY (replay_id, sample_id)
) WITHOUT ROWID;
