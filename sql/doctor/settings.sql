-- settings: for the transaction of one look: short, bounded, and names read as the catalogs' functions must write them
select
  set_config('statement_timeout', '10000', true),
  set_config('lock_timeout', '500', true),
  -- What is visible is written without its schema, whatever that is called.
  set_config('search_path', 'pg_catalog, ' || quote_ident(:'schema'), true),
  -- The tables may have millions of rows. Each look has an index, which a plan made on old statistics must use too.
  set_config('enable_seqscan', 'off', true),
  set_config('enable_bitmapscan', 'off', true),
  set_config('jit', 'off', true)
