-- put_many: insert many jobs of one queue in one statement
-- $1 queue text, $2 jobs as JSON text: [{ "payload": ..., "priority": 0 }, ...]
-- rows: the ids, ascending, which is the order of the jobs given
with given as (
  select *
  from rows from (json_to_recordset($2::text::json) as (payload jsonb, priority smallint)) with ordinality
),
inserted as (
  insert into :"schema".job (queue, payload, priority)
  -- A JSON null arrives as an SQL null.
  select $1::text, coalesce(payload, 'null'), priority
  from given
  order by ordinality
  returning id
)
select id::text as id
from inserted
order by inserted.id
