-- cancel: see function cancel in migrations/0002_functions.sql
-- $1 id bigint
-- rows: one, its answer
select :"schema".cancel($1::bigint) as answer
