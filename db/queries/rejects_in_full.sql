-- Everything that a rule threw out, with the texts and the score that it had under that rule.
SELECT 'instruction' AS kind, c.id AS id, c.rejected_by AS rejected_by, c.instruction AS instruction,
       '' AS input, '' AS output, v.score AS score
FROM candidates c
LEFT JOIN candidate_verdicts v ON v.candidate_id = c.id AND v.rule = c.rejected_by
WHERE c.stage = 'rejected'
UNION ALL
SELECT 'sample', s.id, s.rejected_by, r.instruction, r.input, r.output, v.score
FROM samples s
JOIN sample_revisions r ON r.sample_id = s.id AND r.revision = s.revision
LEFT JOIN sample_verdicts v ON v.sample_id = s.id AND v.rule = s.rejected_by
WHERE s.state = 'filtered';
