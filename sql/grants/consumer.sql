-- A consumer runs jobs, and may do all that an instance does but migrate: put, claim, settle, rescue, edit, requeue,
-- cancel, discard, pause, collect. It ends hung workers' sessions only where they are of the same role.
grant usage on schema :"schema" to :"role";
grant select, insert, update, delete
on :"schema".job, :"schema".archive, :"schema".taken_key, :"schema".worker to :"role";
grant select, insert, update on :"schema".queue to :"role";
grant select on :"schema".migration to :"role";
grant execute on function
  :"schema".put(
    text, jsonb, int, text, timestamptz, float8, text, text, text, float8, text[], int, int
  ),
  :"schema".put_keyed(text, json, text, boolean),
  :"schema".remember_error(jsonb, jsonb),
  :"schema".requeue_many(bigint[]),
  :"schema".requeue(bigint),
  :"schema".cancel(bigint),
  :"schema".cancel_many(bigint[], text[]),
  :"schema".edit(bigint, jsonb, int, timestamptz, float8),
  :"schema".discard_many(bigint[], text[]),
  :"schema".discard(bigint),
  :"schema".pause(text),
  :"schema".resume(text)
to :"role";
