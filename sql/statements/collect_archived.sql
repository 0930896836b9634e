-- collect_archived: delete a batch of archived jobs that ended long ago, the oldest first
-- $1 age float8 in ms, $2 limit int
-- rows: one: locked (false: another collector is at work, and nothing was done), deleted int
-- plan: index archive_finished, then archive_pkey
with turn as materialized (
  -- One collector at a time in a schema, until this statement's transaction ends. No queue's lock K is of this class.
  select pg_try_advisory_xact_lock(format('%I.archive', :'schema')::regclass::oid::int, 0) as locked
),
aged as materialized (
  select id
  from :"schema".archive
  where finished_at < now() - $1::float8 * interval '1 ms'
    and (select locked from turn)
  order by finished_at, id
  limit $2::int
  -- One that is being requeued is no longer old.
  for update skip locked
),
deleted as (
  delete from :"schema".archive
  where id = any (array(select id from aged))
  returning id
)
select
  (select locked from turn) as locked,
  (select count(*)::int from deleted) as deleted
