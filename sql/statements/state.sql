-- state: what this database is, asked once on a fresh session before anything else
-- rows: one:
--   server_version int
--   is_pglite boolean: PostgreSQL compiled to WebAssembly, which has one session for all its clients
--   standby boolean
--   identity text or null: who the server is. Here it is not asked, as some servers refuse to tell: the part between
--     the two marks is another one in state_identified (parts/state.identity.state_identified.sql)
--   read_only boolean: transactions of this session are, unless they say otherwise
--   plan_cache_mode text: shows whether the settings of the session's start are in effect
--   schema_exists boolean
--   migrated boolean: the schema has a table `migration` with our columns
--   occupied boolean: it has something else under that name
--   hidden text: tables of ours, separated by commas, of which this role sees no row: row level security is on, and no
--     policy lets it see any; '' for none
with ours as materialized (
  select pg_class.oid, relname, relkind, relrowsecurity
  from pg_class
  join pg_namespace on pg_namespace.oid = relnamespace
  where nspname = :'schema'
    and relname in ('archive', 'job', 'migration', 'queue', 'taken_key', 'worker')
),
marked as materialized (
  select
    relkind = 'r' and 3 = (
      select count(*)
      from pg_attribute
      where attrelid = ours.oid
        and (attname, atttypid) in (
          ('number', 'int'::regtype),
          ('name', 'text'::regtype),
          ('applied_at', 'timestamptz'::regtype)
        )
    ) as is_ours
  from ours
  where relname = 'migration'
)
select
  current_setting('server_version_num')::int as server_version,
  version() like '%compiled by emcc%' as is_pglite,
  pg_is_in_recovery() as standby,
  -- begin identity
  null::text as identity,
  -- end identity
  current_setting('default_transaction_read_only')::boolean as read_only,
  current_setting('plan_cache_mode') as plan_cache_mode,
  exists (select from pg_namespace where nspname = :'schema') as schema_exists,
  coalesce((select is_ours from marked), false) as migrated,
  coalesce((select not is_ours from marked), false) as occupied,
  (
    select coalesce(string_agg(relname, ', ' order by relname), '')
    from ours
    where relrowsecurity
      and row_security_active(oid)
      and not exists (
        select
        from pg_policy
        where polrelid = ours.oid
          and polpermissive
          and exists (
            select
            from unnest(polroles) as role
            -- 0: everybody
            where case when role = 0 then true else pg_has_role(role, 'usage') end
          )
      )
  ) as hidden
