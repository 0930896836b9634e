-- migration_settings: of the transaction of one step, and of no other
-- A step takes the time that it needs, but waits for no lock for longer than this. A migrator that falls silent within
--   its transaction is ended, and its lock with it.
-- $1 lock_timeout in ms, text
-- rows: one a setting; a server has not all of them
select set_config(name, value, true)
from pg_settings
join (
  values
    ('statement_timeout', '0'),
    ('transaction_timeout', '0'),
    ('lock_timeout', $1::text),
    ('idle_in_transaction_session_timeout', '60000')
) as ours (name, value) using (name)
