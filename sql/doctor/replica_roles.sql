-- replica_roles: for whom triggers do not fire, since their session_replication_role is replica
-- rows: one a setting: role (null: all), database (null: all); first this session's, if it is
select null::text as role, null::text as database, true as is_here
where current_setting('session_replication_role') = 'replica'
union all
select rolname::text, datname::text, false
from pg_db_role_setting
left join pg_roles on pg_roles.oid = setrole
left join pg_database on pg_database.oid = setdatabase
where 'session_replication_role=replica' = any (setconfig)
  and (setdatabase = 0 or datname = current_database())
