-- Whether a candidate that was taken for certain is now rejected by a rule other than duplicate and novelty: then the
-- bounds that were derived from it do not hold.
SELECT EXISTS (
    SELECT 1 FROM candidate_verdicts v
    JOIN neighbour_bounds b ON b.tokenizer = :tokenizer AND b.candidate_id = v.candidate_id
    WHERE v.passed = 0 AND v.rule NOT IN ('duplicate', 'novelty') AND b.certain IS NOT NULL
);
