-- discard: delete jobs that wait, have failed or are archived
-- $1 ids, as an array literal of bigint
-- rows: one, how many it were
select :"schema".discard_many($1::text::bigint[])::int as discarded
