-- collect_keys: delete a batch of keys that were taken for a time which is over
-- $1 age float8 in ms: over for so long, $2 limit int
-- rows: one: locked (false: another collector is at work, and nothing was done), deleted int
-- plan: index taken_key_until, then the rows by their places, which nobody changes once they are locked
with turn as materialized (
  -- As in collect_archived.
  select pg_try_advisory_xact_lock(format('%I.archive', :'schema')::regclass::oid::int, 0) as locked
),
over as materialized (
  select ctid
  from :"schema".taken_key
  where until < now() - $1::float8 * interval '1 ms'
    and (select locked from turn)
  order by until
  limit $2::int
  -- One that a put takes again is not over.
  for update skip locked
),
deleted as (
  delete from :"schema".taken_key
  where ctid = any (array(select ctid from over))
  returning 1
)
select
  (select locked from turn) as locked,
  (select count(*)::int from deleted) as deleted
