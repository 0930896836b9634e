-- foreign_keys: those that point to the table of jobs
-- rows: at most 1000: name, table_name text: quoted where need be
select conname as name, conrelid::regclass::text as table_name
from pg_constraint
where contype = 'f'
  and confrelid = format('%I.job', :'schema')::regclass
order by conname
limit 1000
