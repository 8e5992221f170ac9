-- What a model call cost (money, broken tries included; NULL: no prices were known), and whether its numbers of tokens
-- are guesses because the server did not count.
ALTER TABLE completions ADD COLUMN cost REAL;
ALTER TABLE completions ADD COLUMN tokens_estimated INTEGER NOT NULL DEFAULT 0 CHECK (tokens_estimated IN (0, 1));
