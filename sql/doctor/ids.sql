-- ids: how far the sequence of ids is, and the largest id that is there
-- Ids of the upper half are no sequence's: records of the archive whose id another job had
--   (statements/settle_other.sql).
-- rows: one: last_id text (the last one that was given out; 0: none yet), largest text (0: there is no row)
-- plan: job_pkey and archive_pkey, one entry of each
select
  (select case when is_called then last_value else last_value - 1 end from :"schema".job_id_seq)::text as last_id,
  greatest(
    0,
    (select id from :"schema".job where id < 4611686018427387904 order by id desc limit 1),
    (select id from :"schema".archive where id < 4611686018427387904 order by id desc limit 1)
  )::text as largest
