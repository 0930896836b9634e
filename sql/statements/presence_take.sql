-- presence_take: hold a worker's presence lock on this session, shared, so that it can be had beside a predecessor's
-- $1 worker id bigint
select pg_advisory_lock_shared(format('%I.worker', :'schema')::regclass::oid::int, hashint8($1::bigint))
