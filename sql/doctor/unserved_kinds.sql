-- unserved_kinds: which kinds of a queue's ready jobs are none of these
-- $1 queue, $2 the kinds that are served, as a JSON array
-- rows: at most 20: kind (null: jobs without one, among the first 1000 in claim order)
-- plan: job_kind, one probe per kind; job_ready
with recursive kinds (kind) as (
  (
    select kind::text collate "C" as kind
    from :"schema".job
    where queue = $1::text
      and state = 'ready'
      and kind is not null
    order by job.kind
    limit 1
  )
  union all
  select next.kind
  from kinds
  cross join lateral (
    select job.kind::text collate "C" as kind
    from :"schema".job
    where queue = $1::text
      and state = 'ready'
      and job.kind > kinds.kind
    order by job.kind
    limit 1
  ) as next
)
(
  select kind
  from (select kind from kinds limit 1000) as few
  where kind not in (select json_array_elements_text($2::text::json))
  limit 20
)
union all
(
  select null
  from (
    select kind
    from :"schema".job
    where queue = $1::text
      and state = 'ready'
    order by priority desc, id
    limit 1000
  ) as few
  where kind is null
  limit 1
)
