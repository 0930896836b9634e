-- claimable: the jobs that claim_some would look at, in the order of claiming: sent after one was refused
-- $1 queue text, $2 limit int
-- $3 flags, $4 kinds, $5 whether suspects count, $6 ids: all but those, as $4, $9, $10 and $12 of claim_some
-- rows: one per job: id
-- plan: index job_ready
select id::text as id
from :"schema".job
where queue = $1::text
  and state = 'ready'
  and ($3::text is null or flags is null or not flags && $3::text::text[])
  and ($4::text is null or kind = any ($4::text::text[]))
  and case $5::text when 'only' then crashes > 0 when 'none' then crashes = 0 else true end
  and id <> all ((select $6::text::bigint[])::bigint[])
order by priority desc, id
limit $2::int
