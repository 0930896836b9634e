-- express_table: why no lane may work on the table of jobs
-- rows: none if one may; otherwise one for each reason: name text: of what is there; why text: a part of a sentence
with job as materialized (
  select pg_class.oid, relkind, relrowsecurity, relam, relnamespace
  from pg_class
  where pg_class.oid = format('%I.job', :'schema')::regclass
)
select tgname::text as name, 'is a trigger that may keep or change rows' as why
from job
join pg_trigger on tgrelid = job.oid
join pg_proc on pg_proc.oid = tgfoid
where tgenabled <> 'D'
  -- Those of deletes and updates. A foreign key to jobs shows as such.
  and (tgtype & 24) <> 0
  and not (
    pronamespace = relnamespace
    and tgname in ('job_schedule_again', 'job_free_key', 'job_wake_update', 'job_cancel')
  )
union all
select rulename::text, 'is a rule of the table'
from job
join pg_rewrite on ev_class = job.oid
where ev_enabled <> 'D'
union all
select 'job', 'has row level security'
from job
where relrowsecurity
union all
select inhrelid::regclass::text, 'is a child of the table'
from job
join pg_inherits on inhparent = job.oid
union all
select inhparent::regclass::text, 'is a parent of the table'
from job
join pg_inherits on inhrelid = job.oid
union all
select coalesce(amname::text, relkind::text), 'stores the table, and its rows may move'
from job
left join pg_am on pg_am.oid = relam
where relkind <> 'r'
  or amname is distinct from 'heap'
