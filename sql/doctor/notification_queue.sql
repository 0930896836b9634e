-- notification_queue: how full it is, 0 to 1
select pg_notification_queue_usage() as usage
