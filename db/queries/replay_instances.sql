-- Every sample in order of arrival with its present text; whether a person has had a say on it; and whether it is a
-- draft, which none of the rules in the JSON list :outputs has judged: another model is to write its output.
SELECT s.id, s.candidate_id, s.completion_id, s.position, s.state, s.rejected_by, r.instruction, r.input, r.output,
       EXISTS (SELECT 1 FROM decisions d WHERE d.sample_id = s.id AND d.undone_at IS NULL) AS decided,
       s.state = 'waiting' OR (s.state = 'filtered' AND NOT EXISTS (
           SELECT 1 FROM sample_verdicts v
           WHERE v.sample_id = s.id AND v.rule IN (SELECT value FROM json_each(:outputs)))) AS draft
FROM samples s
JOIN sample_revisions r ON r.sample_id = s.id AND r.revision = s.revision
ORDER BY s.id;
