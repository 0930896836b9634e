import { toError } from '../errors.js'
import { type Bugle, createBugle } from '../index.js'
import type { Screen } from '../terminal/screen.js'
import type { Queues } from './protocol.js'
import { field } from './report.js'
import { type Access, newRoles, roleAccess, sameAccess } from './roles.js'
import type { Server } from './server.js'
import type { DemoNames } from './statements.js'
import { connectionOf, openTables, type Tables } from './tables.js'

/** The database of a run, seen from the main process. Disposing drops what was made. */
interface DemoDatabase extends AsyncDisposable {
  readonly access: Access
  /** The producer's. */
  readonly bugle: Bugle<Queues>
  /** The producer's. */
  readonly insertPlain: Tables['insertPlain']
  /** The observer's. */
  readonly results: Tables['results']
  readonly jobsLeft: Tables['jobsLeft']
}

interface DatabaseParts {
  readonly server: Server
  /** With roles, each process does its part by its own, with the privileges that `bugle grants` prints. */
  readonly names: DemoNames
  readonly screen: Screen
}

const application = 'bugle-demo'

/**
 * Make the schemas and roles of a run, and open what the main process needs.
 *
 * @throws Error with the place that was tried, where the server cannot be reached; what was made until then is dropped
 */
export async function openDatabase(parts: DatabaseParts): Promise<DemoDatabase> {
  const endings: (() => Promise<void>)[] = []
  const end = async () => {
    for (const ending of endings.toReversed()) await ending()
  }
  try {
    return { ...(await make(parts, (ending) => endings.push(ending))), [Symbol.asyncDispose]: end }
  } catch (error) {
    await end()
    throw error
  }
}

/** @param atEnd - called with what is to be done at the end, the last first */
async function make(
  { server, names, screen }: DatabaseParts,
  atEnd: (ending: () => Promise<void>) => void,
): Promise<Omit<DemoDatabase, typeof Symbol.asyncDispose>> {
  const { connectionString, kind } = server
  const open = (url: string): Tables => {
    const tables = openTables(connectionOf(url), names, application, 1)
    atEnd(tables.end)
    return tables
  }

  const owner = open(connectionString)
  const { version, database } = await owner.server()
  const what = kind === 'given' ? `${database}, from DATABASE_URL` : 'embedded, as DATABASE_URL is not set; no fsync'
  screen.say(field('database', `PostgreSQL ${version}, ${what}`))
  screen.say(field('schemas', `${names.own} and ${names.jobs}, dropped at the end`))
  atEnd(async () => {
    // A bar that is still there belongs to a run that has failed, and what is said from here on comes below it.
    screen.end()
    await owner.drop().catch((error) => {
      const which = `the schemas ${names.own} and ${names.jobs}${names.roles === null ? '' : ', or their roles'}`
      screen.say(`could not drop ${which}: ${toError(error).message}`)
    })
  })
  await owner.create()
  await migrate(connectionString, names.jobs)

  let access = sameAccess(connectionString)
  if (names.roles !== null) {
    const roles = newRoles(names.roles)
    await owner.createRoles(roles)
    access = roleAccess(connectionString, database, roles)
    screen.say(field('roles', `${names.own}_producer, _consumer, _observer, by what \`bugle grants\` prints`))
  }
  const producer = names.roles === null ? owner : open(access.producer)
  const observer = names.roles === null ? owner : open(access.observer)
  const bugle = createBugle<Queues>({
    connectionString: access.producer,
    schema: names.jobs,
    name: application,
    poolSize: 1,
    logger: false,
  })
  atEnd(() => bugle.close())
  return { access, bugle, insertPlain: producer.insertPlain, results: observer.results, jobsLeft: observer.jobsLeft }
}

async function migrate(connectionString: string, schema: string): Promise<void> {
  await using bugle = createBugle({ connectionString, schema, name: application, logger: false })
  await bugle.migrate()
}
