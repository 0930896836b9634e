-- What pg_dump --data-only --inserts wrote (but for line ends) of jobs, archive and queues, in the schema as it was
-- before keys had a time.
INSERT INTO bugle.queue (name, paused_at) VALUES ('paused', '2026-11-01 00:00:00+00');
INSERT INTO bugle.job (
  id, queue, kind, payload, state, priority, run_at, attempt, lease, crashes, worker_id, claimed_at,
  created_at, finished_at, key, flags, max_attempts, timeout_ms, cancel_requested_at, progress, last_error
) OVERRIDING SYSTEM VALUE VALUES (
  3, 'q', NULL, '{"n": 3}', 'ready', 0, '2026-11-01 00:00:00+00', 0, 0, 0, NULL, NULL,
  '2026-11-01 00:00:00+00', NULL, 'k', '{eu}', NULL, NULL, NULL, NULL, NULL
);
INSERT INTO bugle.job (
  id, queue, kind, payload, state, priority, run_at, attempt, lease, crashes, worker_id, claimed_at,
  created_at, finished_at, key, flags, max_attempts, timeout_ms, cancel_requested_at, progress, last_error
) OVERRIDING SYSTEM VALUE VALUES (
  4, 'q', 'later', '{"n": 4}', 'scheduled', 5, '2100-01-01 00:00:00+00', 1, 77, 0, NULL,
  '2026-11-01 00:00:01+00', '2026-11-01 00:00:00+00', NULL, 'l', NULL, 5, 9000, NULL, '"half"',
  '{"name": "Error", "message": "once", "failedBy": "retrying", "attempt": 1}'
);
INSERT INTO bugle.job (
  id, queue, kind, payload, state, priority, run_at, attempt, lease, crashes, worker_id, claimed_at,
  created_at, finished_at, key, flags, max_attempts, timeout_ms, cancel_requested_at, progress, last_error
) OVERRIDING SYSTEM VALUE VALUES (
  5, 'q', NULL, '{"n": 5}', 'running', 0, '2026-11-01 00:00:00+00', 1, 88, 0, 4711, '2026-11-01 00:00:01+00',
  '2026-11-01 00:00:00+00', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL
);
INSERT INTO bugle.job (
  id, queue, kind, payload, state, priority, run_at, attempt, lease, crashes, worker_id, claimed_at,
  created_at, finished_at, key, flags, max_attempts, timeout_ms, cancel_requested_at, progress, last_error
) OVERRIDING SYSTEM VALUE VALUES (
  6, 'q', NULL, '{"n": 6}', 'failed', 0, '2026-11-01 00:00:00+00', 5, 99, 0, NULL, '2026-11-01 00:00:01+00',
  '2026-11-01 00:00:00+00', '2026-11-01 00:00:02+00', 'm', NULL, NULL, NULL, NULL, NULL,
  '{"name": "Error", "message": "no", "failedBy": "exhausted", "attempt": 5}'
);
INSERT INTO bugle.archive (
  id, queue, kind, payload, priority, run_at, attempt, lease, crashes, worker_id, claimed_at, created_at,
  finished_at, key, flags, max_attempts, timeout_ms, progress, result
) VALUES (
  2, 'q', NULL, '{"n": 2}', 0, '2026-11-01 00:00:00+00', 1, 66, 0, 4711, '2026-11-01 00:00:01+00',
  '2026-11-01 00:00:00+00', '2026-11-01 00:00:02+00', NULL, NULL, NULL, NULL, NULL, '"done"'
);
SELECT pg_catalog.setval('bugle.job_id_seq', 6, true);
