-- put_keep: put_options, but a job whose key waits already is not inserted
-- No key twice in the list; rows: id, ascending, and key: of the new job, or of the one that waits
-- The waiting job is locked until the transaction's end: it does not run before what is written with it is committed, so
-- it sees that. `do nothing` would neither lock it nor return its id.
  on conflict (queue, key) where key is not null and state in ('ready', 'scheduled') do update
  set key = waiting.key
