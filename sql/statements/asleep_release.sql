-- asleep_release: give K(queue) up, once for each time that a queue is named
-- $1 queue names as a JSON array
select pg_advisory_unlock_shared(format('%I.job', :'schema')::regclass::oid::int, hashtext(name))
from json_array_elements_text($1::text::json) as asked (name)
