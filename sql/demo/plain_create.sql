-- plain_create: a table as applications have them, for comparison: an identity, a name, a payload
create table :"schema".plain (
  id bigint generated always as identity primary key,
  queue text not null,
  payload jsonb not null
)
