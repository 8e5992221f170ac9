SELECT r.position, r.instruction, r.input, r.output, coalesce(c.is_classification, 0)
FROM dataset_rows r
LEFT JOIN samples m ON m.id = r.sample_id
LEFT JOIN candidates c ON c.id = m.candidate_id
WHERE r.dataset_id = ? AND r.split = 'held_out'
ORDER BY r.position
