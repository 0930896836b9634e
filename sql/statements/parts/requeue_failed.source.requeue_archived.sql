-- requeue_archived: make archived jobs ready again that a filter names, a batch by ascending id
-- This is no whole statement: it replaces the part `source` of requeue_failed.sql, from `-- begin source` to
--   `-- end source`.
-- $1 to $5 and rows as in requeue_failed.sql
  from :"schema".archive
  where id > $1::bigint
