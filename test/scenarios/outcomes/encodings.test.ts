import { expect, onTestFinished } from 'vitest'
import { type Bugle, createBugle, partial } from '../../../src/index.js'
import { collected } from '../../support/collected.js'
import { test } from '../../support/database.js'

/** An instance in a database of that encoding, which is gone after the test. */
async function inEncoding(
  sql: { unsafe(text: string): PromiseLike<unknown> },
  connectionString: string,
  encoding: string,
) {
  const name = `bugle_${encoding.toLowerCase()}_${process.pid}`
  await sql.unsafe(`create database ${name} encoding '${encoding}' locale 'C' template template0`)
  const url = new URL(connectionString)
  url.pathname = `/${name}`
  const bugle: Bugle = createBugle({ connectionString: url.href, logger: false })
  onTestFinished(async () => {
    await bugle.close()
    await sql.unsafe(`drop database ${name} with (force)`)
  })
  await bugle.migrate()
  return bugle
}

for (const [encoding, euro] of [
  ['LATIN1', '\\u20ac'],
  ['SQL_ASCII', '€'],
  ['UTF8', '€'],
] as const) {
  test(`F9 ${encoding}: an error, a result and progress are stored with text that the database can hold`, async ({
    db,
  }) => {
    const bugle = await inEncoding(db.sql, db.connectionString, encoding)
    const failed = collected(bugle, 'job:failed')
    const retrying = collected(bugle, 'job:retrying')
    const told = collected(bugle, 'claim:error')
    const consumer = await bugle.consume(
      'q',
      ({ payload, progress }) => {
        if (payload === 'throws') throw new Error('costs 5 €, déjà payé')
        if (payload === 'is retried') throw new Error('costs 6 €')
        if (payload === 'goes on') return progress === null ? partial({ '€': 'à 7 €' }, { delayMs: 0 }) : progress
        return { price: '8 €' }
      },
      {
        concurrency: 4,
        keep: 'all',
        retryStrategy: ({ payload }) => payload === 'is retried' && { delayMs: 3_600_000 },
      },
    )
    const ids = await bugle.putMany('q', ['throws', 'is retried', 'goes on', 'is kept'])
    await consumer.idle()
    const jobs = await Promise.all(ids.map((id) => bugle.job(id)))
    const accents = encoding === 'LATIN1' ? 'd\\u00e9j\\u00e0 pay\\u00e9' : 'déjà payé'
    const à = encoding === 'LATIN1' ? '\\u00e0' : 'à'
    expect(jobs).toMatchObject([
      { state: 'failed', error: { message: `costs 5 ${euro}, ${accents}`, failedBy: 'exhausted' } },
      { state: 'scheduled', error: { message: `costs 6 ${euro}`, failedBy: 'retrying' } },
      { state: 'archived', progress: { [euro]: `${à} 7 ${euro}` }, result: { [euro]: `${à} 7 ${euro}` } },
      { state: 'archived', result: { price: `8 ${euro}` } },
    ])
    // The handler's own error, as it was thrown.
    expect(failed).toMatchObject([{ id: ids[0], cause: 'exhausted', error: { message: 'costs 5 €, déjà payé' } }])
    expect(retrying).toMatchObject([{ id: ids[1], error: { message: 'costs 6 €' } }])
    // Values that handlers would miss are told of. What it was handed back can be stored as it is.
    expect(told.map(({ error }) => error.message.split(':')[0]).sort()).toEqual(
      encoding !== 'LATIN1'
        ? []
        : [ids[2], ids[3]].map((id) => `job ${id} is settled, but its result or progress has characters written out`),
    )
  })
}
