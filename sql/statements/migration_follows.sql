-- migration_follows: fails unless the step before this one is the schema's last, for a script that is run later than it
--   was made
-- $1 number int, of this step
-- rows: one: 1. The cast's error shows the text; it is no constant, which the planner would cast at once
select
  case
    when max(number) = $1::int - 1 then 1
    else ('the last step of this schema is ' || coalesce(max(number), 0)::text || ': print the script anew')::int
  end
from :"schema".migration
