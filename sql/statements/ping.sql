-- ping: send a mark to ourselves, the long way round
-- $1 channel text, $2 mark text
-- rows: one; none: it was not sent, as the queue of notifications is half full and no trigger notifies either
select pg_notify($1::text, $2::text)
where pg_notification_queue_usage() < 0.5
