-- place: which database this is, to compare two ways to it
-- rows: one: database text, server text
select
  current_database() as database,
  extract(epoch from pg_postmaster_start_time())::text || ' ' || (
    select oid::text from pg_database where datname = current_database()
  ) as server
