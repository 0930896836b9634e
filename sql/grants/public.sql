-- Everybody: nothing. Whatever the default privileges of this database have given to PUBLIC is taken back, and nobody
-- but the schema's owner creates anything in it: functions with their owner's rights look for their tables here.
revoke create on schema :"schema" from public;
revoke all
on :"schema".job, :"schema".archive, :"schema".queue, :"schema".worker, :"schema".taken_key, :"schema".migration
from public;
revoke all on sequence :"schema".job_id_seq from public;
revoke all on function
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
from public;
