-- jobs_find: a page of jobs and archived jobs, newest id first
-- $1 'true' or 'false': with payload, progress and result; otherwise they are null
-- $2 id bigint, below which the page begins, $3 limit int
-- $4 queue text, $5 state text, $6 kind text, $7 created since float8, in ms since 1970; null: whatever
-- rows: times in ms since 1970; is_followed: whether the page could go on behind this row. A page ends with the row by
--   which what it ships (contents and last_error) comes to 16 MB.
-- plan: for these very values, so that a filter that is null costs nothing. From job_pkey and archive_pkey backwards,
--   side by side, until the page is full; or by the index of a state that few rows have.
-- The part between the two marks says which rows; job_find has parts/jobs_find.page.job_find.sql there, and jobs_listed
--   parts/jobs_find.page.jobs_listed.sql.
select
  id::text as id,
  queue,
  kind,
  state,
  case when $1::text::boolean then payload end as payload,
  priority,
  attempt,
  max_attempts,
  timeout_ms,
  crashes,
  key,
  array_to_json(array_remove(flags, null))::text as flags,
  case when $1::text::boolean then progress end as progress,
  (extract(epoch from created_at) * 1000)::float8 as created_at,
  (extract(epoch from run_at) * 1000)::float8 as run_at,
  (extract(epoch from claimed_at) * 1000)::float8 as claimed_at,
  (extract(epoch from finished_at) * 1000)::float8 as finished_at,
  worker_id::text as worker_id,
  (extract(epoch from cancel_requested_at) * 1000)::float8 as cancel_requested_at,
  last_error,
  former_errors,
  case when $1::text::boolean then result end as result,
  is_followed
from (
  -- By the length of the texts that are shipped. Only of what the cut below has left: each is read and written for it.
  select
    stored.*,
    sum(
      case when $1::text::boolean
        then octet_length(payload::text)
          + coalesce(octet_length(progress::text), 0)
          + coalesce(octet_length(result::text), 0)
        else 0
      end
      + coalesce(octet_length(last_error::text), 0)
      + coalesce(octet_length(former_errors::text), 0)
    ) over (order by id desc rows between unbounded preceding and 1 preceding) as bytes_before
  from (
    -- By their size in the table, which is known without reading them; compressed values are larger.
    select
      page.*,
      sum(
        case when $1::text::boolean
          then pg_column_size(payload) + coalesce(pg_column_size(progress), 0) + coalesce(pg_column_size(result), 0)
          else 0
        end
        + coalesce(pg_column_size(last_error), 0)
        + coalesce(pg_column_size(former_errors), 0)
      ) over (order by id desc rows between unbounded preceding and 1 preceding) as stored_before,
      lead(id) over (order by id desc) is not null as is_followed
    from (
      -- The page first, and only its rows are put into shape.
      select *
      from (
        select
          id, queue, kind, state::text as state, payload, priority, attempt, max_attempts, timeout_ms, crashes, key,
          flags, progress, created_at, run_at, claimed_at, finished_at, worker_id, cancel_requested_at, last_error,
          former_errors, null::jsonb as result, false as is_archived
        from :"schema".job
        union all
        select
          id, queue, kind, 'archived'::text, payload, priority, attempt, max_attempts, timeout_ms, crashes, key, flags,
          progress, created_at, run_at, claimed_at, finished_at, worker_id, null, null, null, result,
          true
        from :"schema".archive
      ) as record
      -- begin page
      where ($2::bigint is null or id < $2::bigint)
        and ($4::text is null or queue = $4::text)
        and ($5::text is null or state = $5::text)
        -- Of constants: one of the two tables is left out.
        and ($5::text is null or is_archived = ($5::text = 'archived'))
        and ($6::text is null or kind = $6::text)
        and ($7::float8 is null or created_at >= to_timestamp($7::float8 / 1000))
      order by id desc
      limit $3::int
      -- end page
    ) as page
  ) as stored
  where coalesce(stored_before, 0) < 16777216
) as fitting
where coalesce(bytes_before, 0) < 16777216
order by fitting.id desc
