import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'

const migration = readFileSync(new URL('../../sql/migrations/0001_jobs.sql', import.meta.url), 'utf8')
const triggers = [...migration.matchAll(/^create function :"schema"\.(\w+)\(\) returns trigger.*?^\$\$;/gms)].map(
  ({ 0: text, 1: name = '' }) => ({ name, text }),
)
/** As `wake` has to write it, with its full names, and as the others do. */
const rule = /where (pg_catalog\.)?pg_notification_queue_usage\(\) (<|operator\(pg_catalog\.<\)) 0\.5;$/gm

// They cannot share a function for it: whoever may only write a job would need the right to call that as well, and
// `wake` knows no schema to find it in.
test.for(triggers.filter(({ text }) => text.includes('pg_notify(')))(
  'the trigger function $name notifies only while the queue of notifications is not half full',
  ({ text }) => {
    expect(text.match(rule)).toHaveLength(text.match(/pg_notify\(/g)?.length ?? 0)
  },
)

test('of a job put, a job back, a result, a queue resumed and a cancel triggers notify, and of nothing else', () => {
  expect(migration.match(/pg_notify\(/g)).toHaveLength(5)
  expect(migration.match(rule)).toHaveLength(5)
})
