-- claim_some: the claim that a consumer sends after one that was full of suspects, and while it passes jobs over
-- This is no whole statement: it replaces the part `picked` of claim.sql, from `-- begin picked` to `-- end picked`.
-- $1 to $8 as in claim.sql
-- $9 kinds as an array literal; null: any, and none
-- $10 'true' or 'false': whether it looks past suspects; otherwise it counts them, as claim does
-- $11 ids as an array literal of bigint: all but those, which count neither as found nor as left behind
-- plan: index job_ready, read past what is not asked for
picked as materialized (
  select id, crashes > 0 as is_suspect
  from :"schema".job
  where queue = $1::text
    and state = 'ready'
    and id > $7::bigint
    and ($4::text is null or flags is null or not flags && $4::text::text[])
    and ($9::text is null or kind = any ($9::text::text[]))
    and (not $10::text::boolean or crashes = 0)
    and id <> all ((select $11::text::bigint[])::bigint[])
    and exists (select from present)
  order by priority desc, id
  limit $2::int
  for no key update skip locked
),
visible as (
  select count(*) as jobs
  from (
    select
    from :"schema".job
    where queue = $1::text
      and state = 'ready'
      and ($4::text is null or flags is null or not flags && $4::text::text[])
      and ($9::text is null or kind = any ($9::text::text[]))
      and (not $10::text::boolean or crashes = 0)
      and id <> all ((select $11::text::bigint[])::bigint[])
    order by priority desc, id
    limit $2::int
  ) as first
),
