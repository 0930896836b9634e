-- worker_insert: announce this process; committed before its first claim
-- $1 id bigint, $2 name text, $3 host text, $4 pid int, $5 version text
insert into :"schema".worker (id, name, host, pid, version)
values ($1::bigint, $2::text, $3::text, $4::int, $5::text)
-- Its own row, left because a job was still running at the last stop, or because an answer was lost.
on conflict (id) do update
set seen_at = now()
