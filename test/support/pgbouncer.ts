import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { promisify } from 'node:util'
import { freePort } from '../../src/embedded/postgres.js'
import { serverUser } from '../../src/embedded/user.js'

/** A pooler in front of the tests' server, in transaction mode. */
export interface Pgbouncer {
  /** The same database, through it. */
  readonly connectionString: string
  stop(): Promise<void>
}

// Debian has it where the path of a user does not lead.
const programs = ['pgbouncer', '/usr/sbin/pgbouncer', '/usr/local/sbin/pgbouncer']

/** The program, if this machine has it. Otherwise that is said, loudly: tests are left out. */
export async function findPgbouncer(): Promise<string | null> {
  for (const program of programs) {
    const found = await promisify(execFile)(program, ['--version']).catch(() => null)
    if (found !== null) return program
  }
  console.warn(
    '\n*** pgbouncer is not installed: the tests with a pooler are SKIPPED (apt-get install pgbouncer) ***\n',
  )
  return null
}

/** @param settings - of its section [pgbouncer], beside ours */
export async function startPgbouncer(
  program: string,
  target: string,
  settings: Readonly<Record<string, string>> = {},
): Promise<Pgbouncer> {
  const url = new URL(target)
  const directory = await mkdtemp(join(tmpdir(), 'bugle-pgbouncer-'))
  const port = await freePort()
  const lines = [
    '[databases]',
    `* = host=${url.hostname} port=${url.port}`,
    '[pgbouncer]',
    `listen_addr = 127.0.0.1`,
    `listen_port = ${port}`,
    'unix_socket_dir =',
    'auth_type = trust',
    `auth_file = ${join(directory, 'users.txt')}`,
    'pool_mode = transaction',
    'max_client_conn = 200',
    ...Object.entries(settings).map(([name, value]) => `${name} = ${value}`),
  ]
  await writeFile(join(directory, 'users.txt'), `"${url.username}" ""\n`)
  await writeFile(join(directory, 'pgbouncer.ini'), `${lines.join('\n')}\n`)
  await chmod(directory, 0o755)
  // It refuses to run as root, as the server does.
  const user = await serverUser(undefined)
  const child = spawn(program, [join(directory, 'pgbouncer.ini')], {
    cwd: directory,
    stdio: ['ignore', 'ignore', 'pipe'],
    ...(user && { uid: user.uid, gid: user.gid }),
  })
  const exited = once(child, 'exit')
  const log: string[] = []
  await new Promise<void>((resolve, reject) => {
    createInterface(child.stderr).on('line', (line) => {
      log.push(line)
      if (line.includes('process up')) resolve()
    })
    child.once('error', reject)
    child.once('exit', (code) => reject(new Error(`pgbouncer ended with ${code}:\n${log.join('\n')}`)))
  })
  url.port = String(port)
  return {
    connectionString: url.href,
    async stop() {
      child.kill('SIGTERM')
      await exited
      await rm(directory, { recursive: true })
    },
  }
}
