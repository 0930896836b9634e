-- migration_begin: the transaction of one step
-- Read committed, whatever the role defaults to: only then the look after the wait for the lock sees what was committed
--   meanwhile. Nothing of the transaction stays with the session, which others may have next, as behind a pooler.
begin isolation level read committed
