-- writers: does a transaction that is older than a debt hold ROW EXCLUSIVE on the job table?
-- Such a transaction may have inserted a row whose trigger ran before a consumer took its K. A younger one has not:
-- its trigger tests K later, and it may come at any moment, so it must not be waited for (consume/claim/sleep.ts).
-- $1 target bigint: as the debt's first claim has it (claim.sql); older: with a lower id
-- One reading of pg_locks, grouped: two readings would be two moments. A prepared transaction has no pid there; its
-- virtualtransaction is its own.
-- Ids have 32 bits in pg_locks. Their ages give back all 64, as running ones lie within 2^31 of the next id. A
-- transaction's own id is older than those of its subtransactions, which have locks of their own.
-- rows: one
with held as materialized (
  select
    virtualtransaction,
    bool_or(
      locktype = 'relation'
      and mode = 'RowExclusiveLock'
      and relation = format('%I.job', :'schema')::regclass
    ) as writes,
    max(age(transactionid)) filter (where locktype = 'transactionid' and mode = 'ExclusiveLock') as id_age
  from pg_locks
  where granted
    and (locktype = 'transactionid' or database = (select oid from pg_database where datname = current_database()))
  group by virtualtransaction
),
next as materialized (
  select xmin::text::bigint + age(xmin::xid) as id
  from (select pg_snapshot_xmin(pg_current_snapshot()) as xmin) as snapshot
)
select exists (
  select
  from held, next
  where writes
    and next.id - id_age < $1::bigint
) as writing
