import { fillIn, readSql, sqlNames, withoutComments } from '../database/sql-files.js'
import { sqlText } from '../database/sql-texts.js'
import type { Migration } from '../database/statements.js'

/** The SQL of `sql/doctor/`, one statement per file. Read when the doctor is asked: nothing else needs it. */
export type DoctorStatements = ReadonlyMap<string, string>

export function loadDoctorStatements(schema: string): DoctorStatements {
  return new Map(
    sqlNames('doctor').map((name) => {
      const text = withoutComments(readSql(`doctor/${name}`))
      return [name, fillIn(`/* bugle doctor ${name} */ ${text}`, { schema })]
    }),
  )
}

/** One thing in a schema; a row of the statement `schema_objects`. */
export interface SchemaObject {
  readonly kind: string
  readonly name: string
  readonly definition: string
}

/** What the migrations make, as a test that has just run them has written it down (test/support/schema-dump.ts). */
export function expectedObjects(): readonly SchemaObject[] {
  return JSON.parse(sqlText('schema.json')) as SchemaObject[]
}

/**
 * The statement of the migrations that makes an index, a trigger or a function: so that it can be given as a remedy.
 *
 * @param migrations - as `loadMigrations` fills them in
 * @returns null where there is none of its own, as for a column
 */
export function makingStatement(migrations: readonly Migration[], { kind, name }: SchemaObject): string | null {
  const own = name.replace(/\(.*$/s, '').replace(/^.*\./s, '')
  const patterns: Record<string, RegExp> = {
    function: new RegExp(`^create (?:or replace )?function [^\\n(]*\\.${own}\\(.*?^\\$\\$;$`, 'ms'),
    index: new RegExp(`^create (?:unique )?index ${own} .*?;$`, 'ms'),
    trigger: new RegExp(`^create trigger ${own} .*?;$`, 'ms'),
  }
  const pattern = patterns[kind]
  if (pattern === undefined) return null
  // A later step may make it anew.
  for (const { text } of [...migrations].reverse()) {
    const found = pattern.exec(text)?.[0]
    if (found !== undefined) return found
  }
  return null
}
