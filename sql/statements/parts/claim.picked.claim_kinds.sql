-- claim_kinds: the claim of a consumer that serves some kinds only
-- This is no whole statement: it replaces the part `picked` of claim.sql, from `-- begin picked` to `-- end picked`.
-- $1 to $9 as in claim.sql; $10 kinds as an array literal, not null
-- plan: index job_kind, a probe for each kind; a sort of the first jobs of each
-- In the order of claiming, how many jobs of each kind are among the first; then so many of each are taken.
shares as materialized (
  select kind, count(*) as jobs
  from (
    select asked.kind
    from unnest($10::text::text[]) as asked (kind),
      lateral (
        select priority, id
        from :"schema".job
        where queue = $1::text
          and kind = asked.kind
          and state = 'ready'
          and id > $7::bigint
          and ($4::text is null or flags is null or not flags && $4::text::text[])
        order by priority desc, id
        limit $2::int
      ) as waiting
    order by waiting.priority desc, waiting.id
    limit $2::int
  ) as first
  group by kind
),
picked as materialized (
  select waiting.id, waiting.is_suspect
  from shares,
    lateral (
      select id, crashes > 0 as is_suspect
      from :"schema".job
      where queue = $1::text
        and kind = shares.kind
        and state = 'ready'
        and id > $7::bigint
        and ($4::text is null or flags is null or not flags && $4::text::text[])
        and exists (select from present)
      order by priority desc, id
      limit shares.jobs
      for no key update skip locked
    ) as waiting
),
visible as (
  select coalesce(sum(jobs), 0) as jobs
  from shares
),
