-- claim_some: the claim that a consumer sends after one that found suspects, or that the database refused
-- This is no whole statement: it replaces the part `picked` of claim.sql, from `-- begin picked` to `-- end picked`.
-- $1 to $8 as in claim.sql
-- $9 kinds as an array literal; null: any, and none
-- $10 what it does with suspects: 'apart': count and do not take them, as claim does; 'only': take nothing else;
--   'none': look past them
-- $11 ids as an array literal of bigint: those jobs only; null: any
-- $12 ids: all but those, which count neither as found nor as left behind
-- plan: index job_ready, read past what is not asked for
picked as materialized (
  select id, $10::text = 'apart' and crashes > 0 as is_suspect
  from :"schema".job
  where queue = $1::text
    and state = 'ready'
    and id > $7::bigint
    and ($4::text is null or flags is null or not flags && $4::text::text[])
    and ($9::text is null or kind = any ($9::text::text[]))
    and case $10::text when 'only' then crashes > 0 when 'none' then crashes = 0 else true end
    and ($11::text is null or id = any ((select $11::text::bigint[])::bigint[]))
    and id <> all ((select $12::text::bigint[])::bigint[])
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
      and case $10::text when 'only' then crashes > 0 when 'none' then crashes = 0 else true end
      and ($11::text is null or id = any ((select $11::text::bigint[])::bigint[]))
      and id <> all ((select $12::text::bigint[])::bigint[])
    order by priority desc, id
    limit $2::int
  ) as first
),
