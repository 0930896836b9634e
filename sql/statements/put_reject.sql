-- put_reject: put_options of one job, unless its key waits already
-- rows: id; none: the key is taken, and the transaction goes on
  on conflict do nothing
