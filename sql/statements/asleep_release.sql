-- asleep_release: give K(queue) up
-- $1 queue text
select pg_advisory_unlock_shared(format('%I.job', :'schema')::regclass::oid::int, hashtext($1::text))
