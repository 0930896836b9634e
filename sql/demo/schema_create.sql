-- schema_create: the demo's own schema; fails where the name is taken
create schema :"schema"
