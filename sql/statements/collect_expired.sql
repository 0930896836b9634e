-- collect_expired: delete a batch of archived jobs whose time is over, the longest over first
-- $1 age float8 in ms: over for so long, $2 limit int
-- rows: one: locked (false: another collector is at work, and nothing was done), deleted int
-- plan: index archive_expires, then archive_pkey
with turn as materialized (
  -- As in collect_archived.
  select pg_try_advisory_xact_lock(format('%I.archive', :'schema')::regclass::oid::int, 0) as locked
),
over as materialized (
  select id
  from :"schema".archive
  where expires_at < now() - $1::float8 * interval '1 ms'
    and (select locked from turn)
  order by expires_at
  limit $2::int
  for update skip locked
),
deleted as (
  delete from :"schema".archive
  where id = any (array(select id from over))
  returning id
)
select
  (select locked from turn) as locked,
  (select count(*)::int from deleted) as deleted
