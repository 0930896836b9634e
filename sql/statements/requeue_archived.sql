-- requeue_archived: requeue_failed, of archived jobs: what stands here takes the place of its source
  from :"schema".archive
  where id > $1::bigint
