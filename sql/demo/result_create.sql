-- result_create: one row a finished file
-- Nothing is unique but `number`: a job that ran twice must show as two rows.
create table :"schema".result (
  number bigint generated always as identity primary key,
  job_id bigint not null,
  path text not null,
  bytes bigint not null,
  sha256 text not null,
  gzip_bytes bigint not null,
  worker int not null,
  attempt int not null
)
