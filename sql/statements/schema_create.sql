-- schema_create: asked for only when it is missing, since `if not exists` demands the privilege all the same
create schema :"schema"
