-- A consumer runs jobs, and may do all that an instance does but migrate: put, claim, settle, rescue, requeue, cancel,
-- pause, collect. It ends hung workers' sessions only where they are of the same role.
grant usage on schema :"schema" to :"role";
grant select, insert, update, delete on :"schema".job, :"schema".archive, :"schema".worker to :"role";
grant select, insert, update on :"schema".queue to :"role";
grant select on :"schema".migration to :"role";
grant execute on function
  :"schema".put(text, jsonb, int, text, timestamptz),
  :"schema".put_keep(text, json),
  :"schema".put_replace(text, json),
  :"schema".put_reject(text, json),
  :"schema".requeue_many(bigint[]),
  :"schema".requeue(bigint),
  :"schema".cancel(bigint),
  :"schema".pause(text),
  :"schema".resume(text)
to :"role";
