import { BugleError, describe } from '../errors.js'
import { fillIn, readSql, statementsIn } from './sql-files.js'

/**
 * What a role that does not own the schema may be. Its privileges are the SQL of `sql/grants/`, one file each.
 *
 * - `producer`: puts jobs, and nothing else.
 * - `consumer`: runs them, and does whatever an instance does but migrate.
 * - `observer`: reads; changes nothing.
 * - `observer without payloads`: nor what applications and handlers have written.
 */
type Part = 'producer' | 'consumer' | 'observer' | 'observer without payloads'

export interface Grants {
  /** null: everybody, whose privileges are taken back. */
  readonly part: Part | null
  readonly role: string | null
  /** With comments. */
  readonly text: string
  /** The same, one by one, without comments and semicolons. */
  readonly statements: readonly string[]
}

/** What takes everybody's privileges back. */
export function revokesFromPublic(schema: string): Grants {
  return { part: null, role: null, ...read('public', { schema }) }
}

/**
 * What makes a role a producer, consumer or observer. They add up, and take nothing away.
 *
 * @throws BugleError `INVALID_OPTION`: not a name that PostgreSQL would take as it is
 */
export function grantsFor(part: Part, role: string, schema: string): Grants {
  demandRole(role)
  return { part, role, ...read(part.replaceAll(' ', '_'), { schema, role }) }
}

function demandRole(role: string): void {
  // Longer names PostgreSQL cuts, and the grant would be another role's.
  const bytes = Buffer.byteLength(role)
  if (bytes < 1 || bytes > 63 || role.includes('\0') || !role.isWellFormed()) {
    throw new BugleError('INVALID_OPTION', `a role must have a name of 1 to 63 bytes; got ${describe(role)}`)
  }
  // Keywords in PostgreSQL's grammar, quoted as well: the first is everybody, the second nobody.
  if (role === 'public' || role === 'none') {
    throw new BugleError('INVALID_OPTION', `a role must be one of your own; got ${describe(role)}, a word of SQL's`)
  }
}

function read(name: string, tokens: { readonly schema: string; readonly role?: string }) {
  const file = readSql(`grants/${name}`).trim()
  // No comment of these files holds a token.
  return { text: fillIn(file, tokens), statements: statementsIn(file).map((statement) => fillIn(statement, tokens)) }
}
