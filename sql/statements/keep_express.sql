-- keep_express: make jobs of a lane whose commit is not known running ones, each only while it is as it was claimed, or
--   if that commit has done so
-- $1 worker_id bigint
-- $2 ids, $3 leases, $4 created_at, $5 run_at, $6 versions, as settle_express has them
-- $7 new leases as an array literal of bigint, in the order of $2
-- rows: the ids of those that are ours, running under their new leases
-- It waits for the lane's transaction, if that still holds the row, and sees how it has ended.
-- plan: job_pkey, by an array of keys (see claim)
update :"schema".job
set state = 'running',
  worker_id = $1::bigint,
  claimed_at = case when state = 'running' then claimed_at else statement_timestamp() end,
  attempt = case when state = 'running' then attempt else least(greatest(job.attempt, 0), 999999999) + 1 end,
  lease = ((select $7::text::bigint[]))[width_bucket(id, (select $2::text::bigint[]))]
where id = any ((select $2::text::bigint[])::bigint[])
  and round(least(greatest(date_part('epoch', created_at), -8.64e12), 8.64e12) * 1e6)::bigint
    = ((select $4::text::bigint[]))[width_bucket(id, (select $2::text::bigint[]))]
  and (
    (
      state not in ('scheduled', 'running', 'failed')
      and lease = ((select $3::text::bigint[]))[width_bucket(id, (select $2::text::bigint[]))]
      and round(least(greatest(date_part('epoch', run_at), -8.64e12), 8.64e12) * 1e6)::bigint
        = ((select $5::text::bigint[]))[width_bucket(id, (select $2::text::bigint[]))]
      and xmin::text::bigint = ((select $6::text::bigint[]))[width_bucket(id, (select $2::text::bigint[]))]
    )
    or (
      state not in ('scheduled', 'ready', 'failed')
      and worker_id = $1::bigint
      and lease = ((select $7::text::bigint[]))[width_bucket(id, (select $2::text::bigint[]))]
    )
  )
  and exists (select from :"schema".worker where id = $1::bigint)
returning id
