-- express_session: what tells a lane's server process from one that gets its number later
-- rows: one: pid int; started text: when the process began, exactly
select pid, to_char(backend_start at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS.US') as started
from pg_stat_activity
where pid = pg_backend_pid()
