-- claim_some: the claim that a consumer sends after one that was full of suspects, and while it passes jobs over
-- This is no whole statement: it replaces the parts `asked` of claim.sql, from `-- begin asked` to `-- end asked`.
-- $1 to $8 as in claim.sql
-- $9 kinds as an array literal; null: any, and none
-- $10 'true' or 'false': whether it looks past suspects; otherwise it counts them, as claim does
-- $11 ids as an array literal of bigint: all but those, which count neither as found nor as left behind
-- plan: index job_ready, read past what is not asked for
    and ($9::text is null or kind = any ($9::text::text[]))
    and (not $10::text::boolean or crashes <= 0)
    and id <> all ((select $11::text::bigint[])::bigint[])
