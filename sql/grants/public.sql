-- Everybody: nothing. Whatever the default privileges of this database have given to PUBLIC is taken back, and nobody
-- but the schema's owner creates anything in it: functions with their owner's rights look for their tables here.
revoke create on schema :"schema" from public;
revoke all on :"schema".job, :"schema".archive, :"schema".queue, :"schema".worker, :"schema".migration from public;
revoke all on sequence :"schema".job_id_seq from public;
revoke all on function
  :"schema".put(text, jsonb, int, text, timestamptz),
  :"schema".given_jobs(json),
  :"schema".put_keep(text, json),
  :"schema".put_replace(text, json),
  :"schema".put_reject(text, json),
  :"schema".requeue_many(bigint[]),
  :"schema".requeue(bigint),
  :"schema".cancel(bigint),
  :"schema".pause(text),
  :"schema".resume(text)
from public;
