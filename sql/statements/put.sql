-- put: insert one job
-- $1 queue text, $2 payload as JSON text, $3 priority smallint, $4 kind text or null
-- rows: one, its id
insert into :"schema".job (queue, payload, priority, kind)
values ($1::text, $2::text::jsonb, $3::smallint, $4::text)
returning id::text as id
