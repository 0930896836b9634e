import { BugleError } from '../errors.js'
import { quoteIdentifier } from './sql-files.js'

/** What a look at a schema shows, beside our steps in it; a part of `ServerState`. */
interface SchemaState {
  /** Something else is called `migration` there. */
  readonly occupied: boolean
  /** Tables of ours of which this role sees no row. */
  readonly hidden: readonly string[]
}

interface Unusable {
  readonly message: string
  /** SQL for the owner of the tables, or null where there is none. */
  readonly remedy: string | null
}

/**
 * Why Bugle cannot use a schema as it is, whatever steps it has: what is there is not ours, or not for us to see.
 *
 * - A foreign table `migration` is known by its columns. Its numbers say nothing about our steps.
 * - Row level security that shows a role no row makes our tables look empty: without steps, without jobs, and without
 *   an error. Event triggers that switch it on for every new table are a common recipe. Policies that let the role see
 *   some rows are somebody's choice, and left alone.
 *
 * @returns null: nothing is in the way
 */
export function whyUnusable(schema: string, { occupied, hidden }: SchemaState, user: string): Unusable | null {
  const name = JSON.stringify(schema)
  if (occupied) {
    const message =
      `schema ${name} has a table "migration" that is not Bugle's: ` +
      'give Bugle a schema of its own (the option `schema`, or --schema)'
    return { message, remedy: null }
  }
  if (hidden.length === 0) return null
  const remedy = hidden
    .map((table) => `alter table ${quoteIdentifier(schema)}.${quoteIdentifier(table)} disable row level security;`)
    .join('\n')
  const message =
    `row level security hides every row of ${hidden.join(', ')} in schema ${name} from role ${JSON.stringify(user)}: ` +
    'let the owner switch it off there, or make a policy for the role'
  return { message, remedy }
}

/**
 * PGlite has one session for all its connections: they would get each other's statements and notifications.
 *
 * @throws BugleError `INVALID_OPTION`
 */
export function demandSessions({ isPglite }: { readonly isPglite: boolean }): void {
  if (!isPglite) return
  throw new BugleError(
    'INVALID_OPTION',
    'the connection must lead to a PostgreSQL server; got PGlite, which has one session for all connections, and ' +
      'Bugle needs sessions of its own: `bugle/embedded` starts a real server',
  )
}

/** @throws BugleError `SCHEMA_UNUSABLE` */
export function demandUsable(schema: string, state: SchemaState, user: string): void {
  const found = whyUnusable(schema, state, user)
  if (found === null) return
  const { message, remedy } = found
  const said = remedy === null ? message : `${message}: ${remedy.replaceAll('\n', ' ')}`
  throw new BugleError('SCHEMA_UNUSABLE', said)
}
