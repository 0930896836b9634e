-- call: wake all consumers of a queue at once, those that doze as well
-- $1 payload text: as listeners know it from a put's, which is the queue's name (src/worker/call.ts)
select pg_notify('bugle_' || format('%I.job', :'schema')::regclass::oid, $1::text)
