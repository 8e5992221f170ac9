-- Suites are frozen lists of tasks; evaluations grow item by item; people judge two of them blindly.

CREATE TABLE suites (
    id           INTEGER PRIMARY KEY,
    name         TEXT NOT NULL,                        -- 'NAME/held_out' or 'seeds'
    dataset_id   INTEGER REFERENCES datasets (id),     -- NULL: not a part of a data set
    content_hash TEXT NOT NULL,                        -- sha256 over the tasks
    created_at   REAL NOT NULL,
    UNIQUE (name, content_hash)
);

CREATE TABLE suite_tasks (
    suite_id          INTEGER NOT NULL REFERENCES suites (id),
    position          INTEGER NOT NULL,                -- the row's place in the data set, or the seed's id
    instruction       TEXT    NOT NULL,
    input             TEXT    NOT NULL,
    output            TEXT    NOT NULL,
    is_classification INTEGER NOT NULL CHECK (is_classification IN (0, 1)),
    PRIMARY KEY (suite_id, position)
) WITHOUT ROWID;

-- What was evaluated before: the held-out rows of the data set that it names.
INSERT INTO suites (name, dataset_id, content_hash, created_at)
SELECT suite, dataset_id, 'data set ' || dataset_id, min(created_at) FROM evaluations GROUP BY suite, dataset_id;

INSERT INTO suite_tasks (suite_id, position, instruction, input, output, is_classification)
SELECT s.id, r.position, r.instruction, r.input, r.output, coalesce(c.is_classification, 0)
FROM suites s
JOIN dataset_rows r ON r.dataset_id = s.dataset_id AND r.split = 'held_out'
LEFT JOIN samples m ON m.id = r.sample_id
LEFT JOIN candidates c ON c.id = m.candidate_id;

CREATE TABLE evaluations_grown (
    id          INTEGER PRIMARY KEY,
    job_id      INTEGER NOT NULL REFERENCES jobs (id),
    suite_id    INTEGER NOT NULL REFERENCES suites (id),
    model       TEXT    NOT NULL,                      -- a SPEC, or job:N for what training job N made
    metrics     TEXT    NOT NULL DEFAULT '{}' CHECK (json_valid(metrics)),
    created_at  REAL    NOT NULL,
    finished_at REAL,                                  -- NULL: answers are still missing
    UNIQUE (job_id, model)
);

INSERT OR IGNORE INTO evaluations_grown (id, job_id, suite_id, model, metrics, created_at, finished_at)
SELECT e.id, e.job_id, s.id, e.model, e.metrics, e.created_at, e.created_at
FROM evaluations e JOIN suites s ON s.name = e.suite AND s.dataset_id = e.dataset_id;

CREATE TABLE evaluation_answers (
    evaluation_id INTEGER NOT NULL REFERENCES evaluations_grown (id),
    position      INTEGER NOT NULL,                    -- the task's position in the suite
    prompt_hash   TEXT,                                -- sha256 of the rendered prompt; NULL: from before this was kept
    output        TEXT    NOT NULL,
    finish_reason TEXT    NOT NULL,
    tokens        INTEGER NOT NULL,
    seconds       REAL    NOT NULL,
    rouge_l       REAL    NOT NULL,
    exact         INTEGER CHECK (exact IN (0, 1)),     -- NULL: no classification task
    words         INTEGER NOT NULL,
    repetitive    INTEGER NOT NULL CHECK (repetitive IN (0, 1)),
    PRIMARY KEY (evaluation_id, position)
) WITHOUT ROWID;

INSERT OR IGNORE INTO evaluation_answers
    (evaluation_id, position, output, finish_reason, tokens, seconds, rouge_l, words, repetitive)
SELECT i.evaluation_id, i.position, i.output, 'stop', 0, 0, i.rouge_l,
       length(trim(i.output)) - length(replace(trim(i.output), ' ', '')) + (trim(i.output) <> ''), 0
FROM evaluation_items i JOIN evaluations_grown e ON e.id = i.evaluation_id;

DROP TABLE evaluation_items;
DROP TABLE evaluations;
ALTER TABLE evaluations_grown RENAME TO evaluations;
CREATE INDEX evaluations_by_suite ON evaluations (suite_id, model);

CREATE TABLE evaluation_losses (
    evaluation_id INTEGER NOT NULL REFERENCES evaluations (id),
    position      INTEGER NOT NULL,
    nats          REAL    NOT NULL,                    -- summed over the task's supervised tokens
    tokens        INTEGER NOT NULL,                    -- 0: the prompt left no room for a response
    PRIMARY KEY (evaluation_id, position)
) WITHOUT ROWID;

-- Two models' answers to the same tasks, judged without their names. The seed gives order and sides.
CREATE TABLE comparisons (
    id          INTEGER PRIMARY KEY,
    first_id    INTEGER NOT NULL REFERENCES evaluations (id),
    second_id   INTEGER NOT NULL REFERENCES evaluations (id),
    seed        INTEGER NOT NULL,
    created_at  REAL    NOT NULL,
    revealed_at REAL,                                  -- when the result was first looked at
    UNIQUE (first_id, second_id),
    CHECK (first_id < second_id)
);

-- The journal of judgements: append-only, like that of decisions.
CREATE TABLE judgements (
    id            INTEGER PRIMARY KEY,
    comparison_id INTEGER NOT NULL REFERENCES comparisons (id),
    position      INTEGER NOT NULL,
    first_is_left INTEGER NOT NULL CHECK (first_is_left IN (0, 1)),   -- as it was shown
    verdict       TEXT    NOT NULL CHECK (verdict IN ('left', 'right', 'tie', 'both_bad')),
    after_reveal  INTEGER NOT NULL CHECK (after_reveal IN (0, 1)),    -- the judge knew the result so far
    judged_at     REAL    NOT NULL,
    undone_at     REAL,
    superseded    INTEGER NOT NULL DEFAULT 0 CHECK (superseded IN (0, 1))
);
CREATE UNIQUE INDEX judgements_valid ON judgements (comparison_id, position) WHERE undone_at IS NULL;
CREATE INDEX judgements_to_redo ON judgements (comparison_id, id) WHERE undone_at IS NOT NULL AND superseded = 0;
