-- read_only: who has set that transactions are read only by default
-- rows: one: source text, as pg_settings has it: 'user', 'database', 'database user', 'configuration file', ...
select source
from pg_settings
where name = 'default_transaction_read_only'
