-- The two model calls behind a sample and the demonstrations that the first one was shown.
SELECT c.completion_id AS instruction_completion_id, s.completion_id, call.model,
       CASE WHEN d.seed_id IS NOT NULL THEN 'seed ' || d.seed_id
            WHEN d.candidate_id IS NOT NULL THEN 'candidate ' || d.candidate_id END AS label,
       coalesce(seed.instruction, machine.instruction) AS instruction
FROM samples s
JOIN candidates c ON c.id = s.candidate_id
JOIN completions call ON call.id = c.completion_id
LEFT JOIN demonstrations d ON d.completion_id = c.completion_id
LEFT JOIN seed_revisions seed ON seed.seed_id = d.seed_id
    AND seed.revision = (SELECT e.revision FROM seeds e WHERE e.id = d.seed_id)
LEFT JOIN candidates machine ON machine.id = d.candidate_id
WHERE s.id = :sample_id
ORDER BY d.position;
