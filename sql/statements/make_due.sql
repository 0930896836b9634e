-- make_due: make scheduled jobs ready at once, whatever their time: for tests; their trigger wakes consumers that sleep
-- $1 queue text; null: of all queues
-- rows: one: due int
-- A job that is locked is waited for: after this no job is scheduled that was before.
with due as (
  update :"schema".job
  set state = 'ready',
    -- Not ahead, so no trigger makes it scheduled again; and what had been due waits since then.
    run_at = least(run_at, statement_timestamp())
  where state = 'scheduled'
    and ($1::text is null or queue = $1::text)
  returning id
)
select count(*)::int as due
from due
