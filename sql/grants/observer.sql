-- An observer reads everything, payloads as well, and changes nothing.
grant usage on schema :"schema" to :"role";
grant select
on :"schema".job, :"schema".archive, :"schema".queue, :"schema".worker, :"schema".taken_key, :"schema".migration
to :"role";
-- For the doctor, which compares the sequence with the ids that are there.
grant select on sequence :"schema".job_id_seq to :"role";
