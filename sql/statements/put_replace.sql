-- put_replace: put_options, but a job whose key waits already takes the place of that job, under its id
-- No key twice in the list; rows: id, ascending, and key; of those that were inserted, in the order given
-- The waiting job is locked until the transaction's end: it does not run before what is written with it is committed.
  on conflict (queue, key) where key is not null and state in ('ready', 'scheduled') do update
  set payload = excluded.payload,
    priority = excluded.priority,
    kind = excluded.kind,
    -- Ready or scheduled: what the insert's trigger has made of it.
    state = excluded.state,
    run_at = excluded.run_at,
    flags = excluded.flags,
    max_attempts = excluded.max_attempts,
    timeout_ms = excluded.timeout_ms,
    -- It is another job now, and has all its attempts.
    attempt = 0,
    claimed_at = null,
    crashes = 0,
    progress = null,
    last_error = null
