-- clock: what time it is there
select (extract(epoch from clock_timestamp()) * 1000)::float8 as at_ms
