-- express_commit: end a lane's transaction. It is durable if and only if the answer's tag says COMMIT
commit
