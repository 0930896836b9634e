-- An observer without payloads reads everything but what applications and handlers have written: payloads, results,
-- progress, errors (their messages may quote a payload). So it has stats() and the workers, but job() and jobs(), which
-- return payloads, are refused.
grant usage on schema :"schema" to :"role";
grant select (
  id, queue, kind, state, priority, run_at, attempt, lease, crashes, worker_id, claimed_at, created_at, finished_at,
  key, key_while, flags, max_attempts, timeout_ms, cancel_requested_at
) on :"schema".job to :"role";
grant select (
  id, queue, kind, priority, run_at, attempt, lease, crashes, worker_id, claimed_at, created_at, finished_at,
  key, key_while, flags, max_attempts, timeout_ms, expires_at
) on :"schema".archive to :"role";
grant select on :"schema".queue, :"schema".worker, :"schema".taken_key, :"schema".migration to :"role";
-- For the doctor, which compares the sequence with the ids that are there.
grant select on sequence :"schema".job_id_seq to :"role";
