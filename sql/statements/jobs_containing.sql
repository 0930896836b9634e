-- jobs_containing: ids of jobs and archived jobs whose payload contains something, the newest first, among so many of
--   those that the rest of a filter names
-- $1 JSON text that the payload contains
-- $2 id bigint, below which the look begins, $3 limit int of ids, $4 limit int of jobs whose payloads are read; as they
--   are stored these come to 64 MB at the most
-- $5 queue text, $6 state text, $7 kind text, $8 created since float8, in ms since 1970; null: whatever
-- rows: one: ids as JSON, last (the lowest id that was looked at), is_cut (the look has ended at its bound, or the ids
--   at theirs: there may be more below `last`)
-- plan: for these very values, as jobs_find: job_pkey and archive_pkey backwards, side by side
with looked as materialized (
  select id, payload, sum(pg_column_size(payload)) over (order by id desc) as bytes
  from (
    select id, payload, queue, state::text as state, kind, created_at, false as is_archived
    from :"schema".job
    union all
    select id, payload, queue, 'archived', kind, created_at, true
    from :"schema".archive
  ) as record
  where ($2::bigint is null or id < $2::bigint)
    and ($5::text is null or queue = $5::text)
    and ($6::text is null or state = $6::text)
    -- Of constants: one of the two tables is left out.
    and ($6::text is null or is_archived = ($6::text = 'archived'))
    and ($7::text is null or kind = $7::text)
    and ($8::float8 is null or created_at >= to_timestamp($8::float8 / 1000))
  order by id desc
  limit $4::int + 1
),
-- The first is read whatever it weighs.
within as materialized (
  select id, payload @> $1::text::jsonb as is_meant
  from looked
  where bytes <= 67108864
    or id = (select max(id) from looked)
  order by id desc
  limit $4::int
),
meant as materialized (
  select id
  from within
  where is_meant
  order by id desc
  limit $3::int
),
-- Where the ids have come to their bound, the next look begins behind the last of them.
ended as (
  select
    case when (select count(*) from meant) = $3::int then (select min(id) from meant) else (select min(id) from within)
    end as last
)
select
  (select coalesce(json_agg(id::text order by id desc), '[]') from meant) as ids,
  last::text as last,
  exists (select from looked where id < last) as is_cut
from ended
