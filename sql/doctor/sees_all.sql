-- sees_all: whether this role is shown what sessions of other roles do, and the server notes it
select pg_has_role('pg_read_all_stats', 'usage') and current_setting('track_activities')::boolean as sees_all
