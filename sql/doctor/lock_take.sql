-- lock_take: a lock of this session's, on a number that nobody else uses; shared, so nobody could wait for it
-- $1 a random number
select pg_try_advisory_lock_shared($1::bigint) as taken
