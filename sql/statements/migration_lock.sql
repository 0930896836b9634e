-- migration_lock: one migrator of a schema at a time, until its transaction ends
-- Not the session's: behind a pooler in transaction mode such a lock would stay on a connection of others for ever.
select pg_advisory_xact_lock(hashtext('bugle.migrate'), hashtext(:'schema'))
