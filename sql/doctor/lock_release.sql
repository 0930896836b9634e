-- lock_release: give it back
-- $1 the number
select pg_advisory_unlock_shared($1::bigint) as released
