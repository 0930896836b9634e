-- job_find: one job, or archived job
-- This is no whole statement: it replaces the part `page` of jobs_find.sql, from `-- begin page` to `-- end page`.
-- $1 as in jobs_find.sql; $2 id bigint
-- rows: one or none. A job that somebody put back by hand comes before its own archive.
-- plan: job_pkey, archive_pkey
      where id = $2::bigint
      order by state = 'archived'
      limit 1
