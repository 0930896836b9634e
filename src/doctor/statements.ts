import { readdirSync, readFileSync } from 'node:fs'
import { fillIn, type Migration, withoutComments } from '../database/statements.js'

/**
 * The SQL of `sql/doctor/`, one statement a file, and what a migrated schema consists of. The paths are the same from `src/` and
 * `dist/`. Read when the doctor is asked: nothing else needs them.
 */
const sqlDirectory = new URL('../../sql/', import.meta.url)

export type DoctorStatements = ReadonlyMap<string, string>

export function loadDoctorStatements(schema: string): DoctorStatements {
  const directory = new URL('doctor/', sqlDirectory)
  const files = readdirSync(directory).filter((file) => file.endsWith('.sql'))
  return new Map(
    files.map((file) => {
      const name = file.slice(0, -4)
      const text = withoutComments(readFileSync(new URL(file, directory), 'utf8'))
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

/** Where what the migrations make is written down, by a test that has just run them (test/doctor/schema-objects.test.ts). */
export const schemaObjectsFile = new URL('schema.json', sqlDirectory)

export function expectedObjects(): readonly SchemaObject[] {
  return JSON.parse(readFileSync(schemaObjectsFile, 'utf8')) as SchemaObject[]
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
