-- A producer puts jobs and does nothing else: it reads no payload, and changes, deletes, claims, cancels, requeues and
--   pauses nothing.
grant usage on schema :"schema" to :"role";
-- What a put may say. Everything else of a row (state, owner, lease, attempts) begins as its default.
grant insert (queue, kind, payload, priority, run_at, key, key_while, flags, max_attempts, timeout_ms)
on :"schema".job
to :"role";
-- INSERT ... RETURNING id asks for it. The role can count jobs by it, and see their ids.
grant select (id) on :"schema".job to :"role";
-- Before its first statement an instance looks whether the schema is migrated.
grant select on :"schema".migration to :"role";
grant execute on function :"schema".put(
  text, jsonb, int, text, timestamptz, float8, text, text, text, float8, text[], int, int
) to :"role";
-- Puts with a key: 'replace' overwrites the job that waits under it, for whoever knows the key; 'keep' tells its id,
--   'reject' that there is one.
grant execute on function :"schema".put_keyed(text, json, text, boolean) to :"role";
