-- ping: send a mark to ourselves, the long way round
-- $1 channel text, $2 mark text
select pg_notify($1::text, $2::text)
