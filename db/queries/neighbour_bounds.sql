-- The candidates whose pairs are known, each with its bounds (NULL: it repeats an earlier one's tokens).
SELECT c.id, c.instruction, b.barred, b.certain
FROM candidates c
LEFT JOIN neighbour_bounds b ON b.tokenizer = :tokenizer AND b.candidate_id = c.id
WHERE c.id > :after AND c.id <= :covered
ORDER BY c.id;
