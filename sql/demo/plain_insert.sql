-- plain_insert: the insert with which a put is compared
-- $1 queue text, $2 payload as JSON text
-- rows: one, its id
insert into :"schema".plain (queue, payload)
values ($1::text, $2::text::jsonb)
returning id::text as id
