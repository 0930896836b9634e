-- sees_all: whether this role is shown what sessions of other roles do
select pg_has_role('pg_read_all_stats', 'usage') as sees_all
