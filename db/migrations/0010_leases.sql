-- Work that a worker has taken. No other one takes it until it is answered, given back, or expired. The id is the
-- fencing token: it is never used twice, so the late answer of a worker whose lease has gone to another is not stored.
CREATE TABLE leases (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    job_id     INTEGER NOT NULL REFERENCES jobs (id),
    worker     INTEGER NOT NULL,                       -- its rank
    queue      TEXT    NOT NULL,                       -- 'instruction', 'classification', 'instance' or 'output'
    number     INTEGER NOT NULL,                       -- of the instruction call, the candidate or the sample
    expires_at REAL    NOT NULL,
    UNIQUE (queue, number)
);
