// A primary and a streaming standby, which take turns. The embedded server's package has no pg_basebackup, so a
// standby is made by the low-level backup: the data directory is copied while the primary writes on.
import { execFile } from 'node:child_process'
import { existsSync } from 'node:fs'
import { chmod, chown, mkdtemp, rm, stat, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import pg from 'pg'
import { untilTrue } from './within.mjs'

/**
 * @typedef {import('../../dist/embedded/index.js').EmbeddedPostgres} Server
 * @typedef {typeof import('../../dist/embedded/index.js').startEmbedded} StartEmbedded
 */

const settings = {
  max_connections: 200,
  // What a standby that is just being made needs is kept.
  wal_keep_size: '256MB',
  wal_retrieve_retry_interval: '100ms',
}

/**
 * @param {StartEmbedded} startEmbedded
 * @param {Server} primary
 * @param {number} [port] by which it reaches the primary; default: that one's own
 * @returns {Promise<Server>} which streams from it
 */
export async function startStandby(startEmbedded, primary, port = primary.port) {
  // As root the server has a user of its own, who must get there.
  const directory = await mkdtemp(join(tmpdir(), 'bugle-standby-'))
  await chmod(directory, 0o755)
  const dataDir = join(directory, 'cluster')
  try {
    await copyCluster(primary, dataDir)
    const standby = await startEmbedded({
      dataDir,
      durability: 'off',
      settings: { ...settings, primary_conninfo: `host=127.0.0.1 port=${port} user=postgres` },
    })
    const stop = standby.stop.bind(standby)
    standby.stop = async () => {
      await stop()
      await rm(directory, { recursive: true, force: true })
    }
    return standby
  } catch (error) {
    await rm(directory, { recursive: true, force: true })
    throw error
  }
}

/** @param {StartEmbedded} startEmbedded */
export const startPrimary = (startEmbedded) => startEmbedded({ settings })

/**
 * @param {Server} primary
 * @param {string} dataDir
 */
async function copyCluster(primary, dataDir) {
  await withClient(primary, async (client) => {
    await client.query(`select pg_backup_start('standby', true)`)
    // Files that vanish meanwhile are made again from the log; it is copied as well.
    await promisify(execFile)('cp', ['-a', primary.dataDir, dataDir]).catch(({ stderr }) => {
      const isGone = (/** @type {string} */ line) => line === '' || line.includes('No such file or directory')
      if (!String(stderr).split('\n').every(isGone) || !existsSync(join(dataDir, 'PG_VERSION'))) throw new Error(stderr)
    })
    const { rows } = await client.query('select labelfile from pg_backup_stop(false)')
    for (const file of ['postmaster.pid', 'postmaster.opts']) await rm(join(dataDir, file), { force: true })
    const { uid, gid } = await stat(join(dataDir, 'PG_VERSION'))
    for (const [file, text] of Object.entries({ backup_label: rows[0].labelfile, 'standby.signal': '' })) {
      await writeFile(join(dataDir, file), text)
      await chown(join(dataDir, file), uid, gid)
    }
  })
}

/**
 * Wait until the standby has all that the primary has written.
 *
 * @param {Server} primary
 * @param {boolean} isSynchronous whether commits wait for it from then on
 */
export async function replicate(primary, isSynchronous) {
  await withClient(primary, async (client) => {
    await client.query(`alter system set synchronous_standby_names = '${isSynchronous ? '*' : ''}'`)
    await client.query('select pg_reload_conf()')
    const expected = isSynchronous ? 'sync' : 'async'
    await waitFor(20_000, 'the standby to stream', async () => {
      const { rows } = await client.query(
        'select sync_state from pg_stat_replication where flush_lsn >= pg_current_wal_flush_lsn() - 1000000',
      )
      return rows.some(({ sync_state }) => sync_state === expected)
    })
  })
}

/**
 * As the kernel does it when there is no memory left: no backend says goodbye.
 *
 * @param {Server} server
 */
export async function killServer(server) {
  const { pid } = server
  process.kill(pid, 'SIGKILL')
  await waitFor(10_000, 'the killed server to end', async () => !(await accepts(server)))
}

/**
 * @param {Server} standby
 * @returns {Promise<void>} when it takes writes
 */
export async function promote(standby) {
  await withClient(standby, (client) => client.query('select pg_promote(true, 30)'))
}

/**
 * A killed primary comes back as what it was: it takes writes, as if nothing had happened.
 *
 * @param {Server} server
 */
export async function comeBack(server) {
  await server.restart('immediate')
  await withClient(server, async (client) => {
    // Otherwise its commits wait for a standby that is none any more.
    await client.query('alter system reset synchronous_standby_names')
    await client.query('select pg_reload_conf()')
  })
}

/**
 * @template Result
 * @param {Server} server
 * @param {(client: pg.Client) => Promise<Result>} work
 */
export async function withClient(server, work) {
  const client = new pg.Client({ connectionString: server.connectionString, application_name: 'harness' })
  client.on('error', () => {})
  await client.connect()
  try {
    return await work(client)
  } finally {
    await client.end().catch(() => {})
  }
}

/** @param {Server} server */
const accepts = (server) => withClient(server, async () => true).catch(() => false)

/**
 * @param {number} mostMs
 * @param {string} what
 * @param {() => Promise<boolean>} look
 */
export async function waitFor(mostMs, what, look) {
  if (!(await untilTrue(mostMs, look))) throw new Error(`waited ${mostMs} ms for ${what}`)
}
