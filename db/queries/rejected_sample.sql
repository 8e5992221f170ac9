-- Why a sample was thrown out, and its nearest neighbour's text.
SELECT v.rule, v.score, v.threshold, v.detail,
       s.instruction || char(10) || s.input || char(10) || s.output,
       CASE WHEN v.neighbour_sample_id IS NOT NULL THEN 'sample ' || v.neighbour_sample_id END,
       o.instruction || char(10) || o.input || char(10) || o.output
FROM current_samples s
LEFT JOIN sample_verdicts v ON v.sample_id = s.id AND v.rule = s.rejected_by
LEFT JOIN sample_revisions o ON o.sample_id = v.neighbour_sample_id
    AND o.revision = (SELECT n.revision FROM samples n WHERE n.id = v.neighbour_sample_id)
WHERE s.id = :id;
