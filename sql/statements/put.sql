-- put: insert one job
-- $1 queue text, $2 payload as JSON text, $3 priority smallint
-- rows: one, its id
insert into :"schema".job (queue, payload, priority)
values ($1::text, $2::text::jsonb, $3::smallint)
returning id::text as id
