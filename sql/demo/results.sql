-- results: a page of the results, in the order of their arrival
-- $1 the last number of the page before (0 at first), $2 rows per page
select
  number::text as number,
  job_id::text as job_id,
  path,
  bytes::float8 as bytes,
  sha256,
  gzip_bytes::float8 as gzip_bytes,
  worker,
  attempt
from :"schema".result
where result.number > $1::bigint
order by result.number
limit $2::int
