-- connections: how many sessions the server has, of how many that a plain role can have
-- rows: one: used int, usable int
select
  (select sum(numbackends)::int from pg_stat_database) as used,
  (
    select sum(case when name = 'max_connections' then setting::int else - setting::int end)::int
    from pg_settings
    where name in ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
  ) as usable
