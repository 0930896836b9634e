-- worker_bury: remove a worker that was found dead
-- $1 id bigint, $2 its seen_at as it was observed (heartbeat.sql): one that has moved since is alive
-- rows: its id, if it was this statement that removed it
delete from :"schema".worker
where id = $1::bigint
  and seen_at = $2::text::timestamp at time zone 'UTC'
returning id::text as id
