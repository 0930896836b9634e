import { expect } from 'vitest'
import type { TestDatabase } from '../../support/database.js'
import { type Gate, test } from '../../support/gates.js'
import { fullRows } from '../../support/rows.js'
import { fence } from '../../support/stopping.js'
import { until } from '../../support/until.js'

/** Jobs that wait, and that a process has died under. */
async function suspects(db: TestDatabase, count: number, queue = 'q'): Promise<string[]> {
  const rows = await db.sql.unsafe<{ id: string }[]>(
    `insert into ${db.s}.job (queue, payload, crashes, attempt)
    select '${queue}', '"suspect"', 1, 1 from generate_series(1, ${count}) returning id::text`,
  )
  return rows.map(({ id }) => id)
}

/** Handlers that are held until the test ends them, one after the other. */
function heldHandlers(gate: () => Gate) {
  const running = new Map<string, Gate>()
  const began: string[] = []
  let most = 0
  return {
    began,
    ids: () => [...running.keys()],
    most: () => most,
    handler: async ({ id }: { readonly id: string }) => {
      const held = gate()
      running.set(id, held)
      began.push(id)
      most = Math.max(most, running.size)
      await held.promise
      running.delete(id)
    },
    end: (id: string) => running.get(id)?.resolve(),
  }
}

test('suspects: of jobs that a process has died under one runs at a time, in order, beside all other jobs', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const old = await suspects(db, 5)
  const { handler, ids, began, end, most } = heldHandlers(gate)
  const consumer = await bugle.consume('q', handler, { concurrency: 4 })
  await until(() => ids().length === 1)
  expect(ids()).toEqual([old[0]])
  // No other is claimed: it would die with this one.
  expect((await fullRows(db)).filter(({ state }) => state === 'running').map(({ id }) => id)).toEqual([old[0]])
  const fresh = await bugle.putMany('q', [1, 2, 3])
  await until(() => ids().length === 4)
  expect(ids()).toEqual([old[0], ...fresh])
  for (const [index, id] of old.entries()) {
    end(id)
    const next = old[index + 1]
    await until(() => !ids().includes(id) && (next === undefined || ids().includes(next)))
    expect(ids().filter((running) => old.includes(running))).toEqual(next === undefined ? [] : [next])
  }
  for (const id of fresh) end(id)
  await consumer.idle()
  expect(began).toHaveLength(8)
  expect(most()).toBe(4)
  expect(await fullRows(db)).toEqual([])
})

test('suspects: more of them than slots keep no other job waiting', async ({ db, gate }) => {
  const bugle = db.bugle()
  await suspects(db, 20)
  const fresh = await bugle.putMany('q', [1, 2, 3])
  const { handler, ids, end } = heldHandlers(gate)
  const consumer = await bugle.consume('q', handler, { concurrency: 4 })
  await until(() => ids().length === 4)
  expect(ids().filter((id) => fresh.includes(id))).toEqual(fresh)
  const idle = consumer.idle()
  let isIdle = false
  void idle.then(() => {
    isIdle = true
  })
  await until(() => {
    for (const id of ids()) end(id)
    return isIdle
  })
  expect(await fullRows(db)).toEqual([])
})

test('suspects: all queues of an instance share the turn', async ({ db, gate }) => {
  const bugle = db.bugle()
  const [first = ''] = await suspects(db, 1, 'a')
  const [second = ''] = await suspects(db, 1, 'b')
  const { handler, ids, end } = heldHandlers(gate)
  await bugle.consume('a', handler)
  await until(() => ids().length === 1)
  const other = await bugle.consume('b', handler)
  const fresh = await bugle.put('b', null)
  await until(() => ids().includes(fresh))
  expect(ids()).toEqual([first, fresh])
  end(first)
  await until(() => ids().includes(second))
  end(fresh)
  end(second)
  await other.idle()
  expect(await fullRows(db)).toEqual([])
})

for (const kinds of [false, true]) {
  test(`suspects: a drain ends when all of them have run (${kinds ? 'of some kinds' : 'of any kind'})`, async ({
    db,
  }) => {
    const bugle = db.bugle()
    const ids = await suspects(db, 7)
    if (kinds) await db.sql.unsafe(`update ${db.s}.job set kind = case when id = ${ids[3]} then 'b' else 'a' end`)
    let running = 0
    let most = 0
    const handler = async () => {
      running += 1
      most = Math.max(most, running)
      await new Promise((resolve) => setImmediate(resolve))
      running -= 1
    }
    const report = await bugle.drain('q', kinds ? { a: handler } : handler)
    expect(report).toMatchObject({ completed: kinds ? 6 : 7, released: 0 })
    expect(most).toBe(1)
    expect((await fullRows(db)).map(({ id }) => id)).toEqual(kinds ? [ids[3]] : [])
  })
}

test('suspects: one that is interrupted by a stop leaves the turn to the next consumer', async ({ db }) => {
  const bugle = db.bugle()
  const [id] = await suspects(db, 2)
  const began: string[] = []
  const first = await bugle.consume('q', (job, { signal }) => {
    began.push(job.id)
    return new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  })
  await until(() => began.length === 1)
  await first.stop({ graceMs: 0 })
  expect((await fullRows(db))[0]).toMatchObject({ id, state: 'ready', attempt: 1, crashes: 1 })
  const second = await bugle.consume('q', (job) => void began.push(job.id))
  await second.idle()
  expect(await fullRows(db)).toEqual([])
  expect(began).toHaveLength(3)
})

test('suspects: one that is stuck leaves the turn, and its late end leaves the turn of the next one alone', async ({
  db,
  gate,
}) => {
  const bugle = db.bugle()
  const stuck = db.collect(bugle, 'job:stuck')
  const [stubborn = '', second = '', third = ''] = await suspects(db, 3)
  const { handler, ids, end } = heldHandlers(gate)
  const consumer = await bugle.consume('q', handler, { concurrency: 4 })
  await until(() => ids().length === 1)
  await bugle.cancel(stubborn)
  expect(await stuck.next()).toMatchObject({ id: stubborn })
  await until(() => ids().length === 2)
  expect(ids()).toEqual([stubborn, second])
  end(stubborn)
  await until(async () => (await fullRows(db)).every(({ id }) => id !== stubborn))
  // A fence: this consumer has looked for jobs since.
  const fresh = await bugle.put('q', 'fresh')
  await until(() => ids().length === 2)
  expect(ids()).toEqual([second, fresh])
  end(second)
  await until(() => ids().includes(third))
  end(third)
  end(fresh)
  await consumer.idle()
  expect(await fullRows(db)).toEqual([])
})

/** How often each job has been claimed from here on, by the table's own account. */
async function countClaims(db: TestDatabase): Promise<() => Promise<Record<string, number>>> {
  await db.sql.unsafe(`
    create table ${db.s}.taken (id bigint);
    create function ${db.s}.on_taken() returns trigger language plpgsql as $$
    begin
      insert into ${db.s}.taken values (new.id);
      return null;
    end
    $$;
    create trigger zz_taken after update on ${db.s}.job for each row
    when (old.state = 'ready' and new.state = 'running') execute function ${db.s}.on_taken()`)
  return async () => {
    const rows = await db.sql.unsafe<{ id: string; claims: number }[]>(
      `select id::text, count(*)::int as claims from ${db.s}.taken group by id`,
    )
    return Object.fromEntries(rows.map(({ id, claims }) => [id, claims]))
  }
}

test('suspects: one is claimed when a slot is free for it, and not by a claim that looks ahead', async ({
  db,
  gate,
}) => {
  const claims = await countClaims(db)
  const bugle = db.bugle()
  const { handler, ids, began, end } = heldHandlers(gate)
  const consumer = await bugle.consume('q', handler, { concurrency: 1, prefetch: 2 })
  const running = await bugle.put('q', 'running')
  await until(() => ids().length === 1)
  const [suspect = '', other = ''] = (
    await db.sql.unsafe<{ id: string }[]>(
      `insert into ${db.s}.job (queue, payload, crashes, attempt)
      values ('q', '"suspect"', 1, 1), ('q', '"other"', 0, 0) returning id::text`,
    )
  ).map(({ id }) => id)
  // The claim that takes it has seen the suspect as well.
  await until(async () => (await fullRows(db)).some(({ id, state }) => id === other && state === 'running'))
  await fence(db)
  await until(() => {
    for (const id of ids()) end(id)
    return began.length === 3
  })
  end(suspect)
  await consumer.idle()
  expect(began).toEqual([running, other, suspect])
  expect(await claims()).toMatchObject({ [running]: 1, [other]: 1, [suspect]: 1 })
  expect(await fullRows(db)).toEqual([])
})

for (const prefetch of ['earned', 20] as const) {
  test(`suspects: a backlog keeps none waiting, and none is claimed twice (prefetch: ${prefetch})`, async ({ db }) => {
    const claims = await countClaims(db)
    // A suspect in every hundred jobs.
    await db.sql.unsafe(
      `insert into ${db.s}.job (queue, payload, crashes, attempt)
      select 'q', to_jsonb(n), suspect, suspect
      from generate_series(1, 300) as n, lateral (select (n % 100 = 50)::int) as of (suspect)
      order by n`,
    )
    const crashes: number[] = []
    const report = await db.bugle().drain('q', (job) => void crashes.push(job.crashes), { concurrency: 2, prefetch })
    expect(report).toMatchObject({ completed: 300, released: 0 })
    const places = crashes.flatMap((count, place) => (count > 0 ? [place] : []))
    expect(places).toHaveLength(3)
    // Behind what was claimed with the first look at it, and no further.
    if (prefetch === 20)
      for (const [index, place] of places.entries()) expect(place).toBeLessThan(index * 100 + 49 + 30)
    expect(Object.values(await claims())).toEqual(Array(300).fill(1))
    expect(await fullRows(db)).toEqual([])
  })
}
