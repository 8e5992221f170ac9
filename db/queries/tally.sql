-- A job's calls (:after, :until] by queue: how many, what they made (sum, and sum of squares), tokens, seconds (sum, and
-- sum of squares), money. A call makes kept instructions; samples, where it wrote any; or one usable output.
WITH calls AS (
    SELECT CASE template WHEN 'output' THEN 'output' ELSE stage END AS queue,
           completion_tokens, seconds, coalesce(cost, 0.0) AS cost,
           CASE
               WHEN template = 'output' THEN problem IS NULL
               WHEN stage = 'classification' THEN 1
               WHEN stage = 'instruction' AND NOT EXISTS (SELECT 1 FROM samples s WHERE s.completion_id = completions.id)
                   THEN (SELECT count(*) FROM candidates c
                         WHERE c.completion_id = completions.id AND c.stage <> 'rejected')
               ELSE (SELECT count(*) FROM samples s WHERE s.completion_id = completions.id AND s.state <> 'filtered')
           END AS made
    FROM completions
    WHERE job_id = :job AND id > :after AND id <= :until
)
SELECT queue, count(*), sum(made), sum(made * made), sum(completion_tokens), sum(seconds), sum(seconds * seconds),
       sum(cost)
FROM calls
GROUP BY queue;
