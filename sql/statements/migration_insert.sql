-- migration_insert: remember a step as done
-- $1 number int, $2 name text
insert into :"schema".migration (number, name)
values ($1::int, $2::text)
