-- schema_drop: everything that a run has made: its own schema, and that of its jobs
drop schema if exists :"schema", :"jobs" cascade
