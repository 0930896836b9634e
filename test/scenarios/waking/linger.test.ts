import { expect, onTestFinished, vi } from 'vitest'
import { signal, test } from '../../support/database.js'

test('linger: after a slow claim the next comes within the bound, and not after a multiple of that time', async ({
  db,
}) => {
  // The longest waits that can be drawn.
  const random = vi.spyOn(Math, 'random').mockReturnValue(0.99)
  onTestFinished(() => random.mockRestore())
  const bugle = db.bugle()
  // Enough at once to linger after them, and one less than the claim asks for.
  const [id] = await bugle.putMany('q', Array(99).fill('before'))
  await db.sql.unsafe(`
    create function ${db.s}.slow_claim() returns trigger language plpgsql as $$
    begin
      perform pg_sleep(0.6);
      return null;
    end
    $$;
    create trigger slow_claim after update on ${db.s}.job
    for each row when (new.id = ${id} and new.state = 'running') execute function ${db.s}.slow_claim()`)
  const begun = signal()
  const next = signal<unknown>()
  const handler = ({ payload }: { readonly payload: unknown }): void => {
    if (payload === 'before') begun.resolve()
    else next.resolve(payload)
  }
  await bugle.consume('q', handler, { concurrency: 100 })
  await begun.promise
  // No notification ends a linger. Without its bound this one would last for more than 2 s.
  await bugle.put('q', 'put during the linger')
  await bugle.put('other', 'due 1.5 s later', { delayMs: 1_500 })
  await bugle.consume('other', handler)
  expect(await next.promise).toBe('put during the linger')
})
