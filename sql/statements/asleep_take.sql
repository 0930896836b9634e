-- asleep_take: hold K(queue) shared on this session, waiting up to its lock_timeout
-- $1 queue text
select pg_advisory_lock_shared(format('%I.job', :'schema')::regclass::oid::int, hashtext($1::text))
