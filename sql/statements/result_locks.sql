-- result_locks: say that this session's process waits for results of jobs, until the session ends
-- $1 ids as an array literal of bigint
-- rows: one: locks int: how many it has got, some of them perhaps again
-- Whoever ends a job tests whether somebody waits for its result, and notifies only then: statements/settle_other.sql
--   where it goes to the archive, and trigger job_wake_update where it fails. The test is that of the sleep protocol
--   (migrations/0001_jobs.sql, function wake): it tries the lock (oid of the table archive, 1 + the lowest six bits of
--   the id) exclusively, which those who wait hold shared. So one who waits makes one of 64 jobs of others notify too,
--   and holds 64 locks at the most. 0 in the place of 1 to 64 is the collectors' lock.
-- One who looks after this (result_look) may still miss a job whose end was tested before, and commits after that look:
--   src/results/results.ts says how it is found.
select count(pg_advisory_lock_shared(format('%I.archive', :'schema')::regclass::oid::int, bucket)::text)::int as locks
from (select distinct 1 + (id & 63)::int as bucket from unnest($1::text::bigint[]) as given (id)) as buckets
