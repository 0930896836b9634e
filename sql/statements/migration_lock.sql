-- migration_lock: one migrator a schema at a time; held by the session until it ends
select pg_advisory_lock(hashtext('bugle.migrate'), hashtext(:'schema'))
