-- Where each of the candidates in the JSON list :ids goes on once it is kept: what was asked before is not asked again.
SELECT c.id,
       CASE WHEN EXISTS (SELECT 1 FROM completions call WHERE call.candidate_id = c.id AND call.stage = 'instance')
            THEN 'done'
            -- Written whole: its sample came with it.
            WHEN EXISTS (SELECT 1 FROM samples s WHERE s.candidate_id = c.id) THEN 'done'
            WHEN c.is_classification IS NOT NULL THEN 'instance'
            ELSE 'classification' END AS stage
FROM candidates c
WHERE c.id IN (SELECT value FROM json_each(:ids));
