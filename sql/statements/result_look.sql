-- result_look: what has become of jobs whose results are waited for
-- $1 ids as an array literal of bigint
-- rows: one: xmin, target: as claim.sql has them; jobs as JSON: of those that are there [{ "id", "state", "result" as
--   JSON text, "error" }, ...]
-- Results that come to 1 MB as they are stored, or the first of them; other archived jobs are "unread": many heavy
--   ones are more than one value of PostgreSQL's can hold.
-- plan: job_pkey and archive_pkey, by an array of keys
with archived as materialized (
  select id, result
  from :"schema".archive
  where id = any ($1::text::bigint[])
),
weighed as (
  select
    id,
    result,
    row_number() over (order by id) = 1
      or coalesce(sum(pg_column_size(result)) over (order by id), 0) <= 1048576 as is_read
  from archived
)
select
  pg_snapshot_xmin(pg_current_snapshot())::text as xmin,
  (
    pg_snapshot_xmin(pg_current_snapshot())::text::bigint
    + age(pg_snapshot_xmin(pg_current_snapshot())::xid)
  )::text as target,
  (
    select coalesce(json_agg(found), '[]')
    from (
      select
        id::text as id,
        state::text as state,
        null as result,
        case when state = 'failed' then last_error end as error
      from :"schema".job
      where id = any ($1::text::bigint[])
      union all
      select
        id::text,
        case when is_read then 'archived' else 'unread' end,
        case when is_read then result::text end,
        null
      from weighed
    ) as found
  ) as jobs
