-- act_on_jobs: requeue, cancel or discard jobs that a filter names, a batch by ascending id
-- $1 id bigint, after which the batch begins, $2 limit int
-- $3 queue text, $4 kind text, $5 created since float8, in ms since 1970; null: whatever
-- $6 JSON text that the payload contains; null: whatever it is
-- $7 states as an array literal; $8 'requeue', 'cancel' or 'discard'; $9 limit int of jobs to which it is done
-- rows: one: found int (jobs that were looked at), last (the highest id of those), meant int (those whose payload is as
--   asked, within the limit), done int (fewer, where others were faster)
-- plan: job_pkey, from $1 on. A batch reads the payloads of $2 jobs, however few of them are meant.
-- The part between the two marks says where from; act_on_archived has parts/act_on_jobs.source.act_on_archived.sql
--   there.
with looked as materialized (
  select id, $6::text is null or payload @> $6::text::jsonb as is_meant
  -- begin source
  from :"schema".job
  where state = any ($7::text::text[])
    and id > $1::bigint
  -- end source
    and ($3::text is null or queue = $3::text)
    and ($4::text is null or kind = $4::text)
    and ($5::float8 is null or created_at >= to_timestamp($5::float8 / 1000))
  order by id
  limit $2::int
),
meant as materialized (
  select id
  from looked
  where is_meant
  order by id
  limit $9::int
)
select
  (select count(*)::int from looked) as found,
  (select max(id)::text from looked) as last,
  (select count(*)::int from meant) as meant,
  -- cancel_many and discard_many look at the state again once a job is locked: somebody may have changed it meanwhile.
  case $8::text
    when 'requeue' then :"schema".requeue_many(array(select id from meant))
    when 'cancel' then :"schema".cancel_many(array(select id from meant), $7::text::text[])
    when 'discard' then :"schema".discard_many(array(select id from meant), $7::text::text[])
  end::int as done
