-- worker_insert: announce this process; committed before its first claim
-- $1 id bigint, $2 name text, $3 host text, $4 pid int, $5 version text, $6 rescue_after_ms int, $7 hung_after_ms int
insert into :"schema".worker (id, name, host, pid, version, rescue_after_ms, hung_after_ms)
values ($1::bigint, $2::text, $3::text, $4::int, $5::text, $6::int, $7::int)
-- Its own row, the answer to whose insert was lost.
on conflict (id) do update
set seen_at = clock_timestamp(),
  rescue_after_ms = excluded.rescue_after_ms,
  hung_after_ms = excluded.hung_after_ms
