-- claim_some: the claim that a consumer sends after one that was full of suspects, and while it passes jobs over
-- This is no whole statement: it replaces the parts `asked` of claim.sql, from `-- begin asked` to `-- end asked`.
-- $1 to $9 as in claim.sql
-- $10 kinds as an array literal; null: any, and none
-- $11 'true' or 'false': whether it looks past suspects; otherwise it counts them, as claim does
-- $12 ids as an array literal of bigint: all but those, which count neither as found nor as left behind
-- plan: index job_ready, read past what is not asked for
    and ($10::text is null or kind = any ($10::text::text[]))
    and (not $11::text::boolean or crashes <= 0)
    and id <> all ((select $12::text::bigint[])::bigint[])
