-- What is asked after every key press and every model call must not scan the journal or the calls.
CREATE INDEX decisions_to_redo ON decisions (batch) WHERE undone_at IS NOT NULL AND superseded = 0;
CREATE INDEX decisions_to_undo ON decisions (batch) WHERE undone_at IS NULL;
CREATE INDEX decisions_by_time ON decisions (decided_at);
CREATE INDEX completions_by_stage ON completions (stage, problem);
