-- blockers: who keeps a session's statement waiting for a lock, of whatever kind
-- $1 pid int
-- rows: one per session: pid; 0: a prepared transaction. None: it does not wait
select pid
from unnest(pg_blocking_pids($1::int)) as blocking (pid)
