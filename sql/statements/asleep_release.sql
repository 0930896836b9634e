-- asleep_release: give K(queue) up, once for each time that a queue is named
-- $1 queue names as a JSON array; $2 the same, of those whose lock of doze.sql is given up too
select pg_advisory_unlock_shared(format('%I.job', :'schema')::regclass::oid::int, hashtext(name))
from json_array_elements_text($1::text::json) as asleep (name)
union all
select pg_advisory_unlock_shared(format('%I.queue', :'schema')::regclass::oid::int, hashtext(name))
from json_array_elements_text($2::text::json) as dozing (name)
