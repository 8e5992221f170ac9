-- The method whole: what other models write, what faithful reading costs, which decisions are doubtful, and flips.

-- Which sample a call was about (its output, written anew); NULL for all others. The logarithms of the choices'
-- probabilities, where the backend told them: [yes, no]. What mode "faithful" cost in this call: {fault: count}.
ALTER TABLE completions ADD COLUMN sample_id INTEGER REFERENCES samples (id);
ALTER TABLE completions ADD COLUMN choice_logprobs TEXT CHECK (choice_logprobs IS NULL OR json_valid(choice_logprobs));
ALTER TABLE completions ADD COLUMN faults TEXT CHECK (faults IS NULL OR json_valid(faults));
CREATE INDEX completions_by_sample ON completions (sample_id) WHERE sample_id IS NOT NULL;
CREATE INDEX completions_with_faults ON completions (job_id) WHERE faults IS NOT NULL;

-- The model's bias, which has been taken off the margin (NULL: not calibrated), and whether the margin is below the
-- recipe's limit.
ALTER TABLE candidates ADD COLUMN classification_bias REAL;
ALTER TABLE candidates ADD COLUMN low_margin INTEGER NOT NULL DEFAULT 0 CHECK (low_margin IN (0, 1));

DROP VIEW current_samples;
CREATE VIEW current_samples AS
SELECT s.id, s.candidate_id, s.completion_id, s.position, s.state, s.rejected_by, s.revision, s.created_at,
       r.author, r.instruction, r.input, r.output, c.is_classification, c.classification_margin, c.low_margin
FROM samples s
JOIN sample_revisions r ON r.sample_id = s.id AND r.revision = s.revision
JOIN candidates c ON c.id = s.candidate_id;

-- The call that a model's revision came from, where it is not the sample's own.
ALTER TABLE sample_revisions ADD COLUMN completion_id INTEGER REFERENCES completions (id);

-- A person says: it is a classification task after all, or it is none. One line for each decision batch of the journal.
CREATE TABLE flips (
    batch        INTEGER PRIMARY KEY,                  -- decisions.batch
    candidate_id INTEGER NOT NULL REFERENCES candidates (id),
    from_kind    INTEGER NOT NULL CHECK (from_kind IN (0, 1)),   -- candidates.is_classification before
    from_stage   TEXT    NOT NULL
);
CREATE INDEX flips_by_candidate ON flips (candidate_id);

-- Two more words are allowed: a sample can be 'waiting' for another model's output, a decision can be a 'flip'. A CHECK
-- is changed as sqlite.org/lang_altertable.html, section 7, says: it alters no row and needs no copy of the table.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '''filtered'', ''pending''', '''filtered'', ''waiting'', ''pending''')
    WHERE type = 'table' AND name = 'samples';
UPDATE sqlite_schema SET sql = replace(sql, '''edit'', ''rescue''', '''edit'', ''rescue'', ''flip''')
    WHERE type = 'table' AND name = 'decisions';
PRAGMA writable_schema = RESET;
