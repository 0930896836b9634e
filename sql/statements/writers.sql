-- writers: does any transaction that has an id hold ROW EXCLUSIVE on the job table?
-- Such a transaction may have inserted a row whose trigger ran before a consumer fell asleep.
-- One reading of pg_locks, grouped: two readings would be two moments.
-- rows: one
with held as materialized (
  select
    virtualtransaction,
    bool_or(
      locktype = 'relation'
      and mode = 'RowExclusiveLock'
      and relation = format('%I.job', :'schema')::regclass
    ) as writes,
    bool_or(locktype = 'transactionid' and mode = 'ExclusiveLock') as has_id
  from pg_locks
  where granted
    and (locktype = 'transactionid' or database = (select oid from pg_database where datname = current_database()))
  group by virtualtransaction
)
select exists (select from held where writes and has_id) as writing
