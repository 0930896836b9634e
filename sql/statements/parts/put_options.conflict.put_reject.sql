-- put_reject: put_options of one job, unless its key waits already
-- This is no whole statement: it replaces the part `conflict` of put_options.sql, from `-- begin conflict` to
--   `-- end conflict`, which is empty there.
-- $1, $2 as in put_options.sql
-- rows: id; none: the key is taken, and the transaction goes on
  on conflict do nothing
