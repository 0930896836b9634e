-- jobs_listed: jobs and archived jobs whose ids are known, newest id first, as far as a filter still names them
-- This is no whole statement: it replaces the part `page` of jobs_find.sql, from `-- begin page` to `-- end page`.
-- $1 as in jobs_find.sql; $2 ids as an array literal of bigint; $3 to $7 as in jobs_find.sql
-- plan: job_pkey, archive_pkey
      where id = any ($2::text::bigint[])
        and ($4::text is null or queue = $4::text)
        and ($5::text is null or state = $5::text)
        and ($5::text is null or is_archived = ($5::text = 'archived'))
        and ($6::text is null or kind = $6::text)
        and ($7::float8 is null or created_at >= to_timestamp($7::float8 / 1000))
      order by id desc
      limit $3::int
