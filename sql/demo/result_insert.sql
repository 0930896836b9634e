-- result_insert: what a worker found out about a file
-- $1 job_id bigint, $2 path text, $3 bytes bigint, $4 sha256 text, $5 gzip_bytes bigint, $6 worker int, $7 attempt int
insert into :"schema".result (job_id, path, bytes, sha256, gzip_bytes, worker, attempt)
values ($1::bigint, $2::text, $3::bigint, $4::text, $5::bigint, $6::int, $7::int)
