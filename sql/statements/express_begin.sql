-- express_begin: begin the transaction in which a lane claims, runs and acks
begin isolation level read committed read write
