-- claim_listed: the claim of jobs whose ids are known: one suspect, or those among which one was refused
-- This is no whole statement: it replaces the part `picked` of claim.sql, from `-- begin picked` to `-- end picked`.
-- $1 to $9 as in claim.sql; the limit is the number of ids, and nothing counts as left behind
-- $10 ids as an array literal of bigint: those that are still ready are taken, suspects too
-- plan: job_pkey, by an array of keys. Not `state = 'ready'`: it would draw the planner to job_ready.
picked as materialized (
  select id, false as is_suspect
  from :"schema".job
  where id = any ($10::bigint[])
    and queue = $1::text
    and state not in ('scheduled', 'running', 'failed')
    and ($4::text is null or flags is null or not flags && $4::text::text[])
    and id > $7::bigint
    and exists (select from present)
  limit $2::int
  for no key update skip locked
),
visible as (
  select 0 as jobs
),
