-- The verdicts that a replay gives, before they are compared with the stored ones.
CREATE TEMP TABLE new_verdicts (
    candidate_id           INTEGER NOT NULL,
    rule                   TEXT    NOT NULL,
    position               INTEGER NOT NULL,
    passed                 INTEGER NOT NULL,
    score                  REAL,
    threshold              REAL,
    neighbour_seed_id      INTEGER,
    neighbour_candidate_id INTEGER,
    detail                 TEXT    NOT NULL,
    tokenizer              TEXT    NOT NULL,
    parameters             TEXT    NOT NULL,
    PRIMARY KEY (candidate_id, rule)
) WITHOUT ROWID;
