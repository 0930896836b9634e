-- migration_unlock: for a session that goes on
select pg_advisory_unlock(hashtext('bugle.migrate'), hashtext(:'schema'))
