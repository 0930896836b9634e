-- worker_delete: a process that owns no job any more takes its leave
-- $1 id bigint
delete from :"schema".worker
where id = $1::bigint
  -- With a running job its row stays: whose lease that is must remain known until somebody rescues it.
  and not exists (select from :"schema".job where worker_id = $1::bigint and state = 'running')
