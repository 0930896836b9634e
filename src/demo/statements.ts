import { readFileSync } from 'node:fs'
import { quoteIdentifier } from '../database/statements.js'

/**
 * The SQL of `sql/demo/`, one statement a file. The path is the same from `src/` and `dist/`.
 */
const directory = new URL('../../sql/demo/', import.meta.url)

const names = [
  'jobs_left',
  'plain_create',
  'plain_insert',
  'result_create',
  'result_insert',
  'results',
  'schema_create',
  'schema_drop',
  'server',
] as const

export type DemoStatementName = (typeof names)[number]
export type DemoStatements = Readonly<Record<DemoStatementName, string>>

/** The two schemas of a run. */
export interface SchemaNames {
  /** The demo's own tables. */
  readonly own: string
  /** Bugle's tables. */
  readonly jobs: string
}

/** Read every statement, with `:"schema"` and `:"jobs"` filled in. */
export function loadDemoStatements(schemas: SchemaNames): DemoStatements {
  const loaded = {} as Record<DemoStatementName, string>
  for (const name of names) {
    loaded[name] = readFileSync(new URL(`${name}.sql`, directory), 'utf8')
      .replaceAll(':"schema"', () => quoteIdentifier(schemas.own))
      .replaceAll(':"jobs"', () => quoteIdentifier(schemas.jobs))
  }
  return loaded
}
