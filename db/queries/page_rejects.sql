-- Newest first, instructions before samples.
SELECT kind, id, rejected_by FROM rejects
WHERE :rule = '' OR rejected_by = :rule
ORDER BY kind, id DESC
LIMIT :limit OFFSET :offset;
