-- requeue_failed: make failed jobs ready again that a filter names, a batch by ascending id
-- $1 id bigint, after which the batch begins, $2 limit int
-- $3 queue text, $4 kind text, $5 created since float8, in ms since 1970; null: whatever
-- rows: one: found int, last (the highest id found), requeued int (fewer, where others were faster)
-- The part between the two marks says where from; requeue_archived has parts/requeue_failed.source.requeue_archived.sql
--   there.
with picked as materialized (
  select id
  -- begin source
  from :"schema".job
  where state = 'failed'
    and id > $1::bigint
  -- end source
    and ($3::text is null or queue = $3::text)
    and ($4::text is null or kind = $4::text)
    and ($5::float8 is null or created_at >= to_timestamp($5::float8 / 1000))
  order by id
  limit $2::int
)
select
  (select count(*)::int from picked) as found,
  (select max(id)::text from picked) as last,
  :"schema".requeue_many(array(select id from picked))::int as requeued
