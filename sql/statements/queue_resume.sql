-- queue_resume: claims of a queue again
-- $1 queue text
-- rows: one: changed boolean
select :"schema".resume($1::text) as changed
