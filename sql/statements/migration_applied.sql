-- migration_applied: which steps this schema has
-- rows: number, ascending
select number
from :"schema".migration
order by number
