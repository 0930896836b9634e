-- express_terminate: end a lane's server process, if it is still there
-- $1 pid int, $2 started text, as express_session has them
-- rows: one if it was: terminated boolean
-- In one statement: a pid that was read before may be somebody else's now.
select pg_terminate_backend(pid) as terminated
from (
  select pid
  from pg_stat_activity
  where pid = $1::int
    and to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') = $2::text
  -- Not a filter beside the function: that one has an effect, and comes last.
  offset 0
) as lane
