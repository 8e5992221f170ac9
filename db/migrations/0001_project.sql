-- One project: seeds, model calls, candidates, samples, decisions, data sets, jobs, metrics, evaluations.
-- Times are seconds since the epoch (UTC). JSON columns are checked. Nothing is deleted: rows are revised or marked.

CREATE TABLE project (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Seeds ---------------------------------------------------------------------------------------------------------

CREATE TABLE seeds (
    id         INTEGER PRIMARY KEY,
    task_id    TEXT    NOT NULL UNIQUE,               -- the file's "id"
    enabled    INTEGER NOT NULL DEFAULT 1 CHECK (enabled IN (0, 1)),
    revision   INTEGER NOT NULL DEFAULT 1,            -- the current one
    created_at REAL    NOT NULL
);

CREATE TABLE seed_revisions (
    seed_id           INTEGER NOT NULL REFERENCES seeds (id),
    revision          INTEGER NOT NULL,
    name              TEXT    NOT NULL,
    instruction       TEXT    NOT NULL,
    instances         TEXT    NOT NULL CHECK (json_valid(instances)),   -- [{"input", "output"}]
    is_classification INTEGER NOT NULL CHECK (is_classification IN (0, 1)),
    created_at        REAL    NOT NULL,
    PRIMARY KEY (seed_id, revision)
) WITHOUT ROWID;

CREATE VIEW current_seeds AS
SELECT s.id, s.task_id, s.enabled, s.revision, r.name, r.instruction, r.instances, r.is_classification
FROM seeds s JOIN seed_revisions r ON r.seed_id = s.id AND r.revision = s.revision;

-- Jobs ----------------------------------------------------------------------------------------------------------

CREATE TABLE jobs (
    id                INTEGER PRIMARY KEY,
    kind              TEXT    NOT NULL CHECK (kind IN ('generate', 'train', 'evaluate')),
    state             TEXT    NOT NULL CHECK (state IN
                          ('queued', 'running', 'stopping', 'succeeded', 'failed', 'stopped', 'interrupted')),
    spec              TEXT    NOT NULL CHECK (json_valid(spec)),
    attempt           INTEGER NOT NULL DEFAULT 1,
    created_at        REAL    NOT NULL,
    started_at        REAL,
    finished_at       REAL,
    stop_requested_at REAL,
    exit_code         INTEGER,
    reason            TEXT,                            -- one sentence, for every state that is not success
    log_tail          TEXT,                            -- the last lines of the log at the end
    result            TEXT CHECK (result IS NULL OR json_valid(result))
);
CREATE INDEX jobs_by_state ON jobs (state);

-- A process is (pid, create_time), never a pid alone: pids are reused.
CREATE TABLE job_processes (
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    attempt     INTEGER NOT NULL,
    role        TEXT    NOT NULL CHECK (role IN ('runner', 'launcher', 'worker')),
    rank        INTEGER NOT NULL DEFAULT 0,
    pid         INTEGER NOT NULL,
    create_time REAL    NOT NULL,
    PRIMARY KEY (job_id, attempt, role, rank)
) WITHOUT ROWID;

CREATE TABLE job_events (
    id     INTEGER PRIMARY KEY,
    job_id INTEGER NOT NULL REFERENCES jobs (id),
    at     REAL    NOT NULL,
    kind   TEXT    NOT NULL,                           -- 'state', 'guard', 'checkpoint', 'note'
    detail TEXT    NOT NULL
);
CREATE INDEX job_events_by_job ON job_events (job_id, id);

CREATE TABLE metrics (
    job_id INTEGER NOT NULL REFERENCES jobs (id),
    name   TEXT    NOT NULL,                           -- 'loss', 'eval_loss', 'learning_rate', 'grad_norm', …
    step   INTEGER NOT NULL,
    value  REAL,                                       -- NULL: not a number
    at     REAL    NOT NULL,
    PRIMARY KEY (job_id, name, step)
) WITHOUT ROWID;

-- Model calls ---------------------------------------------------------------------------------------------------

-- The text of a prompt pack as it was used: with the variables, every prompt can be rendered again, to the letter.
CREATE TABLE packs (
    hash  TEXT PRIMARY KEY,
    name  TEXT NOT NULL,
    files TEXT NOT NULL CHECK (json_valid(files))
) WITHOUT ROWID;

CREATE TABLE completions (
    id                INTEGER PRIMARY KEY,
    job_id            INTEGER NOT NULL REFERENCES jobs (id),
    stage             TEXT    NOT NULL CHECK (stage IN ('instruction', 'classification', 'instance')),
    template          TEXT    NOT NULL,                -- which of the pack's prompts: 'instruction', 'output_first', …
    candidate_id      INTEGER REFERENCES candidates (id),   -- whom it is about; NULL for new instructions
    pack_hash         TEXT    NOT NULL REFERENCES packs (hash),
    variables         TEXT    NOT NULL CHECK (json_valid(variables)),
    prompt_hash       TEXT    NOT NULL,                -- sha256 of the rendered prompt
    model             TEXT    NOT NULL,
    params            TEXT    NOT NULL CHECK (json_valid(params)),
    seed              INTEGER NOT NULL,
    text              TEXT    NOT NULL,
    finish_reason     TEXT    NOT NULL,
    prompt_tokens     INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    seconds           REAL    NOT NULL,
    problem           TEXT,                            -- why nothing, or not all, could be read from it
    created_at        REAL    NOT NULL
);
CREATE INDEX completions_by_job ON completions (job_id, stage);
CREATE INDEX completions_by_candidate ON completions (candidate_id) WHERE candidate_id IS NOT NULL;

CREATE TABLE demonstrations (
    completion_id INTEGER NOT NULL REFERENCES completions (id),
    position      INTEGER NOT NULL,
    seed_id       INTEGER REFERENCES seeds (id),
    candidate_id  INTEGER REFERENCES candidates (id),
    PRIMARY KEY (completion_id, position),
    CHECK ((seed_id IS NULL) <> (candidate_id IS NULL))
) WITHOUT ROWID;
CREATE INDEX demonstrations_by_seed ON demonstrations (seed_id) WHERE seed_id IS NOT NULL;

-- Candidates (instructions) and samples (instruction, input, output) ----------------------------------------------

CREATE TABLE candidates (
    id                    INTEGER PRIMARY KEY,
    completion_id         INTEGER NOT NULL REFERENCES completions (id),
    position              INTEGER NOT NULL,            -- in the completion, from 0
    instruction           TEXT    NOT NULL,
    stage                 TEXT    NOT NULL CHECK (stage IN ('rejected', 'classification', 'instance', 'done')),
    rejected_by           TEXT,                        -- the first rule that failed
    is_classification     INTEGER CHECK (is_classification IN (0, 1)),
    classification_margin REAL,                        -- log-odds of yes against no
    created_at            REAL    NOT NULL,
    UNIQUE (completion_id, position),
    CHECK ((stage = 'rejected') = (rejected_by IS NOT NULL))
);
CREATE INDEX candidates_by_stage ON candidates (stage);

CREATE TABLE samples (
    id            INTEGER PRIMARY KEY,
    candidate_id  INTEGER NOT NULL REFERENCES candidates (id),
    completion_id INTEGER NOT NULL REFERENCES completions (id),
    position      INTEGER NOT NULL,
    state         TEXT    NOT NULL CHECK (state IN ('filtered', 'pending', 'accepted', 'rejected')),
    rejected_by   TEXT,                                -- the first rule that failed, where filtered
    revision      INTEGER NOT NULL DEFAULT 1,
    created_at    REAL    NOT NULL,
    UNIQUE (completion_id, position)
);
CREATE INDEX samples_by_state ON samples (state, id);
CREATE INDEX samples_by_candidate ON samples (candidate_id);

CREATE TABLE sample_revisions (
    sample_id   INTEGER NOT NULL REFERENCES samples (id),
    revision    INTEGER NOT NULL,
    author      TEXT    NOT NULL CHECK (author IN ('model', 'person')),
    instruction TEXT    NOT NULL,
    input       TEXT    NOT NULL,
    output      TEXT    NOT NULL,
    created_at  REAL    NOT NULL,
    PRIMARY KEY (sample_id, revision)
) WITHOUT ROWID;

CREATE VIEW current_samples AS
SELECT s.id, s.candidate_id, s.completion_id, s.position, s.state, s.rejected_by, s.revision, s.created_at,
       r.author, r.instruction, r.input, r.output, c.is_classification, c.classification_margin
FROM samples s
JOIN sample_revisions r ON r.sample_id = s.id AND r.revision = s.revision
JOIN candidates c ON c.id = s.candidate_id;

CREATE TABLE candidate_verdicts (
    candidate_id           INTEGER NOT NULL REFERENCES candidates (id),
    rule                   TEXT    NOT NULL,
    position               INTEGER NOT NULL,           -- the rule's place in the list
    passed                 INTEGER NOT NULL CHECK (passed IN (0, 1)),
    score                  REAL,
    threshold              REAL,
    neighbour_seed_id      INTEGER REFERENCES seeds (id),
    neighbour_candidate_id INTEGER REFERENCES candidates (id),
    detail                 TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (candidate_id, rule)
) WITHOUT ROWID;

CREATE TABLE sample_verdicts (
    sample_id           INTEGER NOT NULL REFERENCES samples (id),
    rule                TEXT    NOT NULL,
    position            INTEGER NOT NULL,
    passed              INTEGER NOT NULL CHECK (passed IN (0, 1)),
    score               REAL,
    threshold           REAL,
    neighbour_sample_id INTEGER REFERENCES samples (id),
    detail              TEXT    NOT NULL DEFAULT '',
    PRIMARY KEY (sample_id, rule)
) WITHOUT ROWID;

-- The decision journal: append-only. Undo marks a decision undone and restores what was before it; a new decision
-- makes the undone ones unreachable for redo. Decisions taken together share a batch and are undone together.
CREATE TABLE decisions (
    id            INTEGER PRIMARY KEY,
    batch         INTEGER NOT NULL,
    sample_id     INTEGER NOT NULL REFERENCES samples (id),
    action        TEXT    NOT NULL CHECK (action IN ('accept', 'reject', 'edit', 'rescue')),
    from_state    TEXT    NOT NULL,
    to_state      TEXT    NOT NULL,
    from_revision INTEGER NOT NULL,
    to_revision   INTEGER NOT NULL,
    reason        TEXT,
    decided_at    REAL    NOT NULL,
    undone_at     REAL,
    superseded    INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1))
);
CREATE INDEX decisions_by_batch ON decisions (batch);
CREATE INDEX decisions_by_sample ON decisions (sample_id);

-- Data sets -----------------------------------------------------------------------------------------------------

CREATE TABLE datasets (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL UNIQUE,
    content_hash TEXT NOT NULL,                        -- sha256 over the rows and their split
    card         TEXT NOT NULL CHECK (json_valid(card)),
    created_at   REAL NOT NULL
);

CREATE TABLE dataset_rows (
    dataset_id      INTEGER NOT NULL REFERENCES datasets (id),
    position        INTEGER NOT NULL,
    split           TEXT    NOT NULL CHECK (split IN ('train', 'held_out')),
    sample_id       INTEGER REFERENCES samples (id),   -- NULL for imported rows
    sample_revision INTEGER,
    instruction     TEXT    NOT NULL,
    input           TEXT    NOT NULL,
    output          TEXT    NOT NULL,
    PRIMARY KEY (dataset_id, position)
) WITHOUT ROWID;

-- Evaluations ---------------------------------------------------------------------------------------------------

CREATE TABLE evaluations (
    id         INTEGER PRIMARY KEY,
    job_id     INTEGER NOT NULL REFERENCES jobs (id),
    dataset_id INTEGER NOT NULL REFERENCES datasets (id),
    suite      TEXT    NOT NULL,
    model      TEXT    NOT NULL,                       -- a SPEC, or SPEC+job:N for a tuned adapter
    metrics    TEXT    NOT NULL CHECK (json_valid(metrics)),
    created_at REAL    NOT NULL
);

CREATE TABLE evaluation_items (
    evaluation_id INTEGER NOT NULL REFERENCES evaluations (id),
    position      INTEGER NOT NULL,                    -- the row's position in the data set
    output        TEXT    NOT NULL,
    rouge_l       REAL    NOT NULL,
    PRIMARY KEY (evaluation_id, position)
) WITHOUT ROWID;
