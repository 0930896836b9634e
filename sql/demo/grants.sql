-- grants: what the roles of a run need of the demo's own tables; of Bugle's, sql/grants says it
grant usage on schema :"schema" to :"producer", :"consumer", :"observer";
grant insert (queue, payload), select (id) on :"schema".plain to :"producer";
grant insert (job_id, path, bytes, sha256, gzip_bytes, worker, attempt) on :"schema".result to :"consumer";
grant select on :"schema".result to :"observer";
