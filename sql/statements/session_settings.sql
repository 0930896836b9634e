-- session_settings: the settings of a session, where its start could not have them
-- Only for a session that is ours until it ends: on a connection that a pooler hands around they would be others' next.
-- $1 settings as a JSON object of texts
select set_config(key, value, false)
from json_each_text($1::text::json)
