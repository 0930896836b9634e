-- triggers: whether those of our tables fire
-- rows: one a trigger: table_name, name, enabled (O: yes, A: always, R: on replicas only, D: no)
select relname as table_name, tgname as name, tgenabled::text as enabled
from pg_trigger
join pg_class on pg_class.oid = tgrelid
where relnamespace = (select oid from pg_namespace where nspname = :'schema')
  and not tgisinternal
order by relname, tgname
