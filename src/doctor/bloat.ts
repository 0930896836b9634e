import { bytesText, count, durationText } from '../terminal/text.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'
import type { Patient } from './patient.js'

interface TableRow {
  readonly tableName: string
  readonly live: number
  readonly dead: number
  readonly heapBytes: number
  readonly untendedMs: number
}

interface IndexRow {
  readonly indexName: string
  readonly bytes: number
  readonly entries: number
}

/**
 * Vacuum is due after 2,000 dead rows and a hundredth of the table (0001_jobs.sql): ten times that is no coincidence.
 */
const due = (live: number): number => 2_000 + live / 100
const dueFactor = 10
/** More than a minute (autovacuum's nap) of a very busy queue leaves behind: vacuum comes, and may not remove them. */
const manyDead = 5_000_000
/**
 * Bytes per index entry: 40 to 60 as a rule, with names of some length; an index that is twenty times as large is
 * mostly empty.
 */
const entryBytes = 64
const entryFactor = 20
/**
 * From about a gigabyte on it is trouble: each vacuum reads its indexes from end to end, and comes as often as every
 * minute.
 */
const troubleFactor = 16
/**
 * PostgreSQL moves values out of rows that are longer than 2 kB: a table with less than one row a page is mostly empty.
 */
const pageBytes = 8_192

/** Dead rows, and how large tables and indexes are for what is in them. */
export const bloat: Check = {
  name: 'bloat',
  needs: ['schema'],
  async look(patient) {
    const tables = await patient.ask<TableRow>('bloat_tables')
    const indexes = await patient.ask<IndexRow>('bloat_indexes')
    const found = [
      ...tables.flatMap((row) => ofTable(row, patient)),
      ...indexes.flatMap((row) => ofIndex(row, patient)),
    ]
    if (found.length > 0) return found
    const bytes = [...tables.map(({ heapBytes }) => heapBytes), ...indexes.map((row) => row.bytes)]
    const total = bytes.reduce((sum, one) => sum + one, 0)
    return [ok(`no bloat: tables and indexes have ${bytesText(total)}`, { bytes: total })]
  },
}

function ofTable(row: TableRow, patient: Patient): Diagnosis[] {
  const { tableName, live, dead, heapBytes, untendedMs } = row
  const details = { table: tableName, live, dead, heapBytes, untendedMs: Math.round(untendedMs) }
  const remedy = `vacuum (analyze) ${patient.qualified(tableName)};`
  const rows = `table ${tableName} has ${count(dead)} dead rows beside ${count(live)} live ones`
  if (dead > due(live) * dueFactor && untendedMs >= patient.thresholds.untendedMs) {
    // No trouble yet: when they died is not known. A burst of ten thousand jobs after a quiet day is over before
    // autovacuum looks.
    const message =
      `${rows}, and the last vacuum was ${durationText(untendedMs)} ago or never: claims walk over them ` +
      'until autovacuum comes, which looks every minute'
    return [{ status: 'note', message, remedy, details }]
  }
  if (dead > Math.max(manyDead, live)) {
    const message = `${rows}: vacuum does not come as fast as they die, or may not remove them (see vacuum-horizon)`
    return [{ status: 'trouble', message, remedy, details }]
  }
  if (heapBytes > patient.thresholds.indexBytes * 4 && heapBytes > live * pageBytes) {
    return [
      {
        status: 'note',
        message:
          `table ${tableName} has ${bytesText(heapBytes)} for ${count(live)} rows: new jobs use the space again, ` +
          'but it is not given back',
        remedy: `vacuum (full) ${patient.qualified(tableName)};   -- nobody can put or claim meanwhile`,
        details,
      },
    ]
  }
  return []
}

function ofIndex({ indexName, bytes, entries }: IndexRow, patient: Patient): Diagnosis[] {
  if (bytes < patient.thresholds.indexBytes || bytes <= entries * entryBytes * entryFactor) return []
  return [
    {
      status: bytes >= patient.thresholds.indexBytes * troubleFactor ? 'trouble' : 'note',
      message:
        `index ${indexName} has ${bytesText(bytes)} for ${count(Math.round(entries))} entries: it is mostly empty, ` +
        'and each vacuum reads all of it',
      remedy: `reindex index concurrently ${patient.qualified(indexName)};`,
      details: { index: indexName, bytes, entries },
    },
  ]
}
