-- By which rules the candidates were judged, how, and how many of them, in the order of the rules.
SELECT rule, tokenizer, parameters, count(*), max(position)
FROM candidate_verdicts
GROUP BY rule, tokenizer, parameters
ORDER BY max(position);
