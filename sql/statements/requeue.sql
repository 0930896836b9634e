-- requeue: make failed and archived jobs ready again
-- $1 ids, as an array literal of bigint
-- rows: one, how many it were
select :"schema".requeue_many($1::text::bigint[])::int as requeued
