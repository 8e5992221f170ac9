-- The verdicts on a sample's instruction, then those on the sample itself, each with its neighbour's text. The neighbours
-- are looked up by key: a view of two tables at the right of a LEFT JOIN would be read whole for every card.
SELECT 1 AS part, v.position AS position, v.rule AS rule, v.passed AS passed, v.score AS score,
       v.threshold AS threshold, v.detail AS detail,
       CASE WHEN v.neighbour_seed_id IS NOT NULL THEN 'seed ' || v.neighbour_seed_id
            WHEN v.neighbour_candidate_id IS NOT NULL THEN 'candidate ' || v.neighbour_candidate_id END AS neighbour,
       coalesce(seed.instruction, other.instruction) AS neighbour_text
FROM samples s
JOIN candidate_verdicts v ON v.candidate_id = s.candidate_id
LEFT JOIN seed_revisions seed ON seed.seed_id = v.neighbour_seed_id
    AND seed.revision = (SELECT e.revision FROM seeds e WHERE e.id = v.neighbour_seed_id)
LEFT JOIN candidates other ON other.id = v.neighbour_candidate_id
WHERE s.id = :sample_id
UNION ALL
SELECT 2, v.position, v.rule, v.passed, v.score, v.threshold, v.detail,
       CASE WHEN v.neighbour_sample_id IS NOT NULL THEN 'sample ' || v.neighbour_sample_id END,
       near.input || char(10) || near.output
FROM sample_verdicts v
LEFT JOIN sample_revisions near ON near.sample_id = v.neighbour_sample_id
    AND near.revision = (SELECT o.revision FROM samples o WHERE o.id = v.neighbour_sample_id)
WHERE v.sample_id = :sample_id
ORDER BY part, position;
