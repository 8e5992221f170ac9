-- Pairs that can decide nothing at any threshold (core/neighbours.py says which) are from now on kept up to a few, for
-- showing. What was stored before is found anew.

DROP TABLE candidate_neighbours;
CREATE TABLE candidate_neighbours (
    tokenizer    TEXT    NOT NULL,
    candidate_id INTEGER NOT NULL REFERENCES candidates (id),
    neighbour_id INTEGER NOT NULL REFERENCES candidates (id),
    score        REAL    NOT NULL,
    decides      INTEGER NOT NULL CHECK (decides IN (0, 1)),
    PRIMARY KEY (tokenizer, candidate_id, neighbour_id),
    CHECK (neighbour_id < candidate_id)
) WITHOUT ROWID;

-- Of each candidate that is first of its tokens: below which threshold it is surely rejected, and from which on it is
-- surely kept (NULL: not sure at any).
CREATE TABLE neighbour_bounds (
    tokenizer    TEXT    NOT NULL,
    candidate_id INTEGER NOT NULL REFERENCES candidates (id),
    barred       REAL    NOT NULL,
    certain      REAL,
    PRIMARY KEY (tokenizer, candidate_id)
) WITHOUT ROWID;

DELETE FROM seed_neighbours;
DELETE FROM neighbour_coverage;
