-- ping: send a mark to ourselves, the long way round
-- $1 channel text, $2 mark text
-- rows: one: channel: as statement channel has it now; null: there are no tables
select
  'bugle_' || to_regclass(format('%I.job', :'schema'))::oid as channel,
  pg_notify($1::text, $2::text) as sent
