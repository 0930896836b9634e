-- server: what is shown of the database
-- rows: one
select
  current_setting('server_version') as version,
  current_database() as database
