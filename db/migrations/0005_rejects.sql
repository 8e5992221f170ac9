-- Everything that a rule threw out, instructions and samples alike.
CREATE VIEW rejects AS
SELECT 'instruction' AS kind, id, rejected_by FROM candidates WHERE stage = 'rejected'
UNION ALL
SELECT 'sample', id, rejected_by FROM samples WHERE state = 'filtered';
