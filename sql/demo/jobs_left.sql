-- jobs_left: a page of Bugle's job table: what is not done, and what has failed
-- $1 the last id of the page before (0 at first), $2 rows per page
select
  id::text as id,
  state,
  attempt,
  last_error ->> 'failedBy' as failed_by,
  last_error ->> 'message' as message
from :"jobs".job
where job.id > $1::bigint
order by job.id
limit $2::int
