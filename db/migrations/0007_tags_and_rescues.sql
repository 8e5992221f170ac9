-- Tags that people give to samples. Each is given and taken by a line of the journal, which holds the tag as its reason.
CREATE TABLE sample_tags (
    sample_id INTEGER NOT NULL REFERENCES samples (id),
    tag       TEXT    NOT NULL,
    PRIMARY KEY (sample_id, tag)
) WITHOUT ROWID;
CREATE INDEX sample_tags_by_tag ON sample_tags (tag, sample_id);

-- A CHECK is changed as sqlite.org/lang_altertable.html, section 7, says: it alters no row and needs no copy.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(sql, '(''accept'', ''reject'', ''edit''',
                                            '(''accept'', ''reject'', ''tag'', ''untag'', ''edit''')
    WHERE type = 'table' AND name = 'decisions';
PRAGMA writable_schema = RESET;

-- Instructions that a person took back in though a rule rejected them: the journal's other half. Ids and batches are
-- numbered together with those of decisions, so that undo goes through both in the order in which they were made.
CREATE TABLE rescues (
    id               INTEGER PRIMARY KEY,
    batch            INTEGER NOT NULL,
    candidate_id     INTEGER NOT NULL REFERENCES candidates (id),
    from_rejected_by TEXT    NOT NULL,
    decided_at       REAL    NOT NULL,
    undone_at        REAL,
    superseded       INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1))
);
CREATE INDEX rescues_by_batch ON rescues (batch);
CREATE INDEX rescues_by_candidate ON rescues (candidate_id);
CREATE INDEX rescues_to_redo ON rescues (batch) WHERE undone_at IS NOT NULL AND superseded = 0;
CREATE INDEX rescues_to_undo ON rescues (batch) WHERE undone_at IS NULL;

-- What a person said last of a sample.
CREATE INDEX decisions_valid_by_sample ON decisions (sample_id, id) WHERE undone_at IS NULL;
