import { quoteIdentifier } from '../database/sql-files.js'
import { loadMigrations, type Migration } from '../database/statements.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'
import type { Patient } from './patient.js'
import { expectedObjects, makingStatement, type SchemaObject } from './statements.js'

/** What somebody adds for their own queries; the rest of what is added can refuse or slow what we write. */
const harmless: ReadonlySet<string> = new Set(['index', 'function', 'table', 'domain'])

/**
 * Are the tables, columns, indexes, constraints, triggers and functions those that the migrations make
 * (sql/schema.json)? Whether triggers are enabled, and the storage parameters, are checks of their own.
 */
export const drift: Check = {
  name: 'drift',
  needs: ['schema'],
  async look(patient) {
    const differences = compare(expectedObjects(), await patient.ask<SchemaObject>('schema_objects')).filter(
      ({ object }) => object.kind !== 'parameter',
    )
    if (differences.length === 0) return [ok('the schema is as the migrations made it')]
    const migrations = loadMigrations(patient.schema)
    return differences.map((difference) => diagnosis(difference, patient, migrations))
  },
}

interface Difference {
  readonly is: 'missing' | 'changed' | 'added'
  /** As it should be; of one that was added, as it is. */
  readonly object: SchemaObject
  /** As it is. */
  readonly found: string | null
}

/** By kind and name. */
export function compare(expected: readonly SchemaObject[], found: readonly SchemaObject[]): Difference[] {
  const key = ({ kind, name }: SchemaObject): string => `${kind} ${name}`
  const there = new Map(found.map((object) => [key(object), object]))
  const known = new Set(expected.map(key))
  const differences: Difference[] = []
  for (const object of expected) {
    const match = there.get(key(object))
    if (match === undefined) differences.push({ is: 'missing', object, found: null })
    else if (match.definition !== object.definition) {
      differences.push({ is: 'changed', object, found: match.definition })
    }
  }
  for (const object of found) {
    if (!known.has(key(object))) differences.push({ is: 'added', object, found: object.definition })
  }
  return differences
}

function diagnosis({ is, object, found }: Difference, patient: Patient, migrations: readonly Migration[]): Diagnosis {
  const { kind, name } = object
  const what = `${kind} ${name}`
  const isHidden = visibility(object, found, patient) !== null
  const message = {
    missing: `${what} is missing`,
    changed: isHidden
      ? `${what} has row level security: roles that do not own it find it empty, but for what policies show them`
      : `${what} is not as the migrations made it`,
    added: `${what} is not from the migrations`,
  }
  return {
    status: is === 'added' && harmless.has(kind) ? 'note' : 'trouble',
    message: message[is],
    remedy:
      is === 'added'
        ? removal(object, patient)
        : (visibility(object, found, patient) ?? restoration(object, patient, migrations, is)),
    details: { object: what, is, expected: is === 'added' ? null : object.definition, found },
  }
}

/** Row level security hides our rows from all roles but the owner, as if they were not there. */
function visibility({ kind, name }: SchemaObject, found: string | null, patient: Patient): string | null {
  if (kind !== 'table' || found?.includes('row level security') !== true) return null
  return `alter table ${patient.qualified(name)} disable row level security;`
}

/** What was there can be made again where it holds no data. */
function restoration(
  object: SchemaObject,
  patient: Patient,
  migrations: readonly Migration[],
  is: 'missing' | 'changed',
): string | null {
  const making = makingStatement(migrations, object)
  if (making === null) return null
  if (object.kind === 'function') return making.replace(/^create function/, 'create or replace function')
  // Beside running claims.
  const made = making.replace(/^create (unique )?index/, 'create $1index concurrently')
  return is === 'missing' ? made : `${removal(object, patient)}\n${made}`
}

function removal({ kind, name }: SchemaObject, patient: Patient): string | null {
  const [table = '', own = ''] = name.split(/\.(.*)/s)
  switch (kind) {
    case 'index':
      return `drop index concurrently ${patient.qualified(name)};`
    case 'trigger':
      return `drop trigger ${quoteIdentifier(own)} on ${patient.qualified(table)};`
    case 'constraint':
      return `alter table ${patient.qualified(table)} drop constraint ${quoteIdentifier(own)};`
    case 'column':
      return `alter table ${patient.qualified(table)} drop column ${quoteIdentifier(own)};   -- and what it holds`
    default:
      return null
  }
}
