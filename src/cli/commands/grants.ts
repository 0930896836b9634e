import { schemaName } from '../../checks.js'
import { type Grants, grantsFor, revokesFromPublic } from '../../database/grants.js'
import { version } from '../../version.js'
import { type Cli, exitCodes, UsageError } from '../cli.js'

interface GrantsOptions {
  readonly producer?: readonly string[]
  readonly consumer?: readonly string[]
  readonly observer?: readonly string[]
  /** false: observers do not see them. */
  readonly payloads: boolean
}

/**
 * `bugle grants`: SQL for psql, to be run by the owner of the schema. Nothing is executed, and no database is needed.
 *
 * JSON: one line per role, `{ "part": "producer" | "consumer" | "observer" | "observer without payloads", "role": …,
 * "statements": [...] }`, in the order in which they are to be run; and before them one with `"part": null, "role":
 * null`, which takes back what everybody has. None of the statements ends with a semicolon.
 */
export async function grants({ out, schema }: Cli, options: GrantsOptions): Promise<number> {
  const { producer = [], consumer = [], observer = [], payloads } = options
  if (producer.length + consumer.length + observer.length === 0) {
    throw new UsageError('a role is missing: give at least one --producer, --consumer or --observer')
  }
  if (!payloads && observer.length === 0)
    throw new UsageError('--no-payloads is about an --observer, and there is none')
  schemaName(schema)
  const observing = payloads ? 'observer' : 'observer without payloads'
  const all = [
    revokesFromPublic(schema),
    ...unique(producer).map((role) => grantsFor('producer', role, schema)),
    ...unique(consumer).map((role) => grantsFor('consumer', role, schema)),
    ...unique(observer).map((role) => grantsFor(observing, role, schema)),
  ]
  for (const { part, role, statements } of all) out.json({ part, role, statements })
  out.say(script(all))
  return exitCodes.ok
}

function unique(roles: readonly string[]): readonly string[] {
  return [...new Set(roles)]
}

/** No name stands in a comment: it may hold a line end. */
function script(all: readonly Grants[]): string {
  const isObserved = all.some(({ part }) => part?.startsWith('observer'))
  return [preamble, ...all.map(({ text }) => text), ...(isObserved ? [forDoctor] : []), 'commit;'].join('\n\n')
}

const preamble = `\
-- Privileges of roles for Bugle ${version}, to be run by psql as the owner of the schema.
-- Again after each migration: what it adds is granted to nobody. The owner migrates, and is none of these roles.
-- The roles exist already, may log in, and may connect to this database. What they were granted before, they keep.
\\set ON_ERROR_STOP on
begin;`

const forDoctor = `\
-- What other roles' sessions do, and since when, PostgreSQL shows to members of pg_monitor only. For all that
-- \`bugle doctor\` can find a superuser makes the observers members: grant pg_monitor to ...;`
