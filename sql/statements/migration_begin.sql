-- migration_begin: the transaction of one step
-- Read committed, whatever the role defaults to: only then what is looked at after the wait for the lock is newer than
--   that wait. A session that others use before and after it, as a pooler has them, keeps nothing of such a transaction.
begin isolation level read committed
