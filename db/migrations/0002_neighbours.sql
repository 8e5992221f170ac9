-- How alike candidates are, kept while filtering, so that other thresholds can be replayed without comparing again;
-- and the journal of replays that were applied.

-- Every score depends on how texts are cut into words.
ALTER TABLE candidate_verdicts ADD COLUMN tokenizer TEXT NOT NULL DEFAULT 'rouge';
ALTER TABLE sample_verdicts ADD COLUMN tokenizer TEXT NOT NULL DEFAULT 'rouge';
CREATE INDEX candidate_verdicts_failed ON candidate_verdicts (candidate_id, position, rule) WHERE passed = 0;

-- Pairs with a score of at least the coverage's floor. The neighbour came earlier, and was kept or not. Of candidates
-- with the same tokens only the first has pairs of its own; each later one has one pair, of score 1, with that first.
CREATE TABLE candidate_neighbours (
    tokenizer    TEXT    NOT NULL,
    candidate_id INTEGER NOT NULL REFERENCES candidates (id),
    neighbour_id INTEGER NOT NULL REFERENCES candidates (id),
    score        REAL    NOT NULL,
    PRIMARY KEY (tokenizer, candidate_id, neighbour_id),
    CHECK (neighbour_id < candidate_id)
) WITHOUT ROWID;

CREATE TABLE seed_neighbours (
    tokenizer    TEXT    NOT NULL,
    candidate_id INTEGER NOT NULL REFERENCES candidates (id),
    seed_id      INTEGER NOT NULL REFERENCES seeds (id),
    score        REAL    NOT NULL,
    PRIMARY KEY (tokenizer, candidate_id, seed_id)
) WITHOUT ROWID;

-- Up to which candidate the pairs are complete, and with which wording of the seeds.
CREATE TABLE neighbour_coverage (
    tokenizer    TEXT    PRIMARY KEY,
    floor        REAL    NOT NULL,
    seeds_hash   TEXT    NOT NULL,
    candidate_id INTEGER NOT NULL                      -- 0: none yet
) WITHOUT ROWID;

-- Replays that were applied: what each changed, from what. Undone ones stay.
CREATE TABLE replays (
    id                 INTEGER PRIMARY KEY,
    applied_at         REAL    NOT NULL,
    threshold          REAL    NOT NULL,
    tokenizer          TEXT    NOT NULL,
    rules              TEXT    NOT NULL CHECK (json_valid(rules)),     -- names, in order
    last_completion_id INTEGER NOT NULL,               -- undo is possible until there is a newer one
    undone_at          REAL
);

CREATE TABLE replay_candidates (
    replay_id        INTEGER NOT NULL REFERENCES replays (id),
    candidate_id     INTEGER NOT NULL REFERENCES candidates (id),
    from_stage       TEXT    NOT NULL,
    from_rejected_by TEXT,
    to_stage         TEXT    NOT NULL,
    to_rejected_by   TEXT,
    PRIMARY KEY (replay_id, candidate_id)
) WITHOUT ROWID;

CREATE TABLE replay_samples (
    replay_id        INTEGER NOT NULL REFERENCES replays (id),
    sample_id        INTEGER NOT NULL REFERENCES samples (id),
    from_state       TEXT    NOT NULL,
    from_rejected_by TEXT,
    to_state         TEXT    NOT NULL,
    to_rejected_by   TEXT,
    PRIMARY KEY (replay_id, sample_id)
) WITHOUT ROWID;

-- The verdicts that a replay took the place of. existed = 0: there was none of this rule.
CREATE TABLE replay_verdicts (
    replay_id              INTEGER NOT NULL REFERENCES replays (id),
    candidate_id           INTEGER NOT NULL REFERENCES candidates (id),
    rule                   TEXT    NOT NULL,
    existed                INTEGER NOT NULL CHECK (existed IN (0, 1)),
    position               INTEGER,
    passed                 INTEGER,
    score                  REAL,
    threshold              REAL,
    neighbour_seed_id      INTEGER,
    neighbour_candidate_id INTEGER,
    detail                 TEXT,
    tokenizer              TEXT,
    PRIMARY KEY (replay_id, candidate_id, rule)
) WITHOUT ROWID;
