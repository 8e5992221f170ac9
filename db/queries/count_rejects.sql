SELECT count(*) FROM rejects WHERE :rule = '' OR rejected_by = :rule;
