-- put_many: insert many jobs of one queue in one statement
-- $1 queue text, $2 jobs as JSON text: [{ "payload": ..., "priority": 0, "kind" }, ...]; the kind may be missing
-- rows: the ids, ascending, which is the order of the jobs given
-- For jobs with further options there is put_options: each column of the list costs every row, a tenth for all of them.
with given as (
  select *
  from rows from (
    json_to_recordset($2::text::json) as (payload jsonb, priority smallint, kind text)
  ) with ordinality
),
inserted as (
  insert into :"schema".job (queue, payload, priority, kind)
  -- A JSON null arrives as an SQL null.
  select $1::text, coalesce(payload, 'null'), priority, kind
  from given
  order by ordinality
  returning id
)
select id::text as id, null as key
from inserted
order by inserted.id
