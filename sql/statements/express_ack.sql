-- express_ack: delete a lane's acked jobs, all of them or none
-- $1 ctids as an array literal: where the rows are. This transaction has locked them, so nobody has moved them
-- $2 xid text: of that transaction. In any other one nothing is deleted: those places may hold any job there
-- rows: one. If a row was not deleted (another transaction; a trigger, a rule or a policy has kept it): error 22012
-- plan: tid scan
with acked as (
  delete from :"schema".job
  where ctid = any ($1::tid[])
    and pg_current_xact_id_if_assigned() = $2::text::xid8
  returning 1
)
select 1 / (case when (select count(*) from acked) = cardinality($1::tid[]) then 1 else 0 end) as counted
