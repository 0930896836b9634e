-- channel: on which wake-ups travel; the trigger's function wake() names it in the same way
select 'bugle_' || format('%I.job', :'schema')::regclass::oid as channel
