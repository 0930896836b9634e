-- schema_drop: the schema and all that is in it: for tests, which have made it
drop schema if exists :"schema" cascade
