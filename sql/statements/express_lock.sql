-- express_lock: keep schema changes away from a lane's rows until its transaction ends
-- Without it an index could be built between claim and delete: it would wait for the claim, and the delete for it.
lock table :"schema".job in row exclusive mode
