-- Candidates whose pairs are known, but for those that repeat an earlier one's tokens.
SELECT c.id, c.instruction FROM candidates c
WHERE c.id <= :covered
  AND NOT EXISTS (SELECT 1 FROM candidate_neighbours n
                  WHERE n.tokenizer = :tokenizer AND n.candidate_id = c.id AND n.score = 1.0)
ORDER BY c.id;
