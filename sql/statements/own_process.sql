-- own_process: which process of the server's answers
-- rows: one: pid int
select pg_backend_pid() as pid
