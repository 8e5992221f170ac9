-- For every seed: how often it was shown to the model, and what the calls that showed it led to.
-- A call shows several seeds, and its candidates and samples count for each of them. Counting by call first keeps the
-- join with the demonstrations small.
WITH candidates_by_call AS (
    SELECT completion_id, count(*) AS candidates, sum(stage <> 'rejected') AS kept
    FROM candidates GROUP BY completion_id
),
samples_by_call AS (
    SELECT c.completion_id,
           sum(s.state = 'pending')  AS pending,
           sum(s.state = 'accepted') AS accepted,
           sum(s.state = 'rejected') AS rejected,
           sum(s.state = 'filtered') AS filtered
    FROM samples s JOIN candidates c ON c.id = s.candidate_id GROUP BY c.completion_id
),
by_seed AS (
    SELECT d.seed_id, count(DISTINCT d.completion_id) AS drawn,
           sum(c.candidates) AS candidates, sum(c.kept) AS kept, sum(s.pending) AS pending,
           sum(s.accepted) AS accepted, sum(s.rejected) AS rejected, sum(s.filtered) AS filtered
    FROM demonstrations d
    LEFT JOIN candidates_by_call c ON c.completion_id = d.completion_id
    LEFT JOIN samples_by_call s ON s.completion_id = d.completion_id
    WHERE d.seed_id IS NOT NULL
    GROUP BY d.seed_id
)
SELECT seeds.id AS seed_id, coalesce(u.drawn, 0) AS drawn, coalesce(u.candidates, 0) AS candidates,
       coalesce(u.kept, 0) AS kept, coalesce(u.pending, 0) AS pending, coalesce(u.accepted, 0) AS accepted,
       coalesce(u.rejected, 0) AS rejected, coalesce(u.filtered, 0) AS filtered
FROM seeds LEFT JOIN by_seed u ON u.seed_id = seeds.id
ORDER BY seeds.id;
