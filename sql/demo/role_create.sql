-- role_create: a role of one run, for people to see in pg_stat_activity who does what
create role :"role" login password :'password'
