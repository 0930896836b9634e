-- result_look: what has become of jobs whose results are waited for
-- $1 ids as an array literal of bigint
-- rows: one: xmin, target: as claim.sql has them; jobs as JSON: of those that are there [{ "id", "state", "result" as
--   JSON text, "error" }, ...]
-- plan: job_pkey and archive_pkey, by an array of keys
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
      select id::text, 'archived', result::text, null
      from :"schema".archive
      where id = any ($1::text::bigint[])
    ) as found
  ) as jobs
