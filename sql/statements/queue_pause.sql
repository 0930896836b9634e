-- queue_pause: no further claims of a queue, in any process
-- $1 queue text
-- rows: one: changed boolean
select :"schema".pause($1::text) as changed
