-- act_on_archived: requeue or discard archived jobs that a filter names, a batch by ascending id
-- This is no whole statement: it replaces the part `source` of act_on_jobs.sql, from `-- begin source` to
--   `-- end source`.
-- $1 to $9 and rows as in act_on_jobs.sql; $7 is '{archived}'
  from :"schema".archive
  where 'archived' = any ($7::text::text[])
    and id > $1::bigint
