-- An observer reads everything, payloads as well, and changes nothing.
grant usage on schema :"schema" to :"role";
grant select on :"schema".job, :"schema".archive, :"schema".queue, :"schema".worker, :"schema".migration to :"role";
