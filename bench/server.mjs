/** The PostgreSQL server of a run, shared by all contenders; each run in a database of its own. */
import pg from 'pg'
import { startEmbedded } from '../dist/embedded/index.js'
import { connect } from './measure/session.mjs'

/**
 * @typedef {object} Database
 * @property {string} url
 * @property {string} name
 * @property {(text: string, params?: readonly unknown[]) => Promise<any[]>} query its rows, by a connection of our own
 * @property {(channel: string, tell: () => void) => Promise<void>} listen calls it for each notification there, by the
 *   same connection: what was committed before a query is told by its answer
 * @property {() => Promise<void>} tidy vacuum, analyze and checkpoint: what was loaded costs the run that follows
 *   nothing
 * @property {() => Promise<void>} drop
 *
 * @typedef {object} Server
 * @property {string} url of a superuser or at least somebody who may create databases
 * @property {boolean} isOurs false: that of DATABASE_URL
 * @property {Readonly<Record<string, string>>} settings those that matter, and the version, as the server itself has
 *   them
 * @property {(text: string, params?: readonly unknown[]) => Promise<any[]>} query its rows
 * @property {(name: string) => Promise<Database>} freshDatabase an empty one
 * @property {(settings: Readonly<Record<string, string | number | null>>) => Promise<void>} alter for all sessions, old
 *   ones too; null: as before. Undone at the stop.
 * @property {() => Promise<void>} stop
 */

/**
 * PostgreSQL's defaults (so every commit is flushed), but for the number of connections.
 * The autovacuum stays on: with it a queue lives.
 */
const defaultSettings = { max_connections: 300 }

/**
 * An embedded server in a fresh temporary directory; or with DATABASE_URL that one, as it is set.
 *
 * @param {{ settings?: Readonly<Record<string, string | number | boolean>> }} [options]
 * @returns {Promise<Server>}
 */
export async function startServer({ settings = {} } = {}) {
  const given = process.env.DATABASE_URL
  const all = { ...defaultSettings, ...settings }
  const embedded = given ? null : await startEmbedded({ durability: 'on', settings: all })
  const url = embedded?.connectionString ?? given ?? ''
  try {
    return await serverAt(url, embedded, Object.keys(all))
  } catch (error) {
    await embedded?.stop()
    throw error
  }
}

/**
 * @param {string} url
 * @param {import('../dist/embedded/index.js').EmbeddedPostgres | null} embedded
 * @param {readonly string[]} alsoTold names of settings
 * @returns {Promise<Server>}
 */
async function serverAt(url, embedded, alsoTold) {
  const admin = await connect(url)
  /** @type {Set<() => Promise<void>>} */
  const drops = new Set()
  /** @type {Set<pg.Client>} */
  const clients = new Set([admin])
  /** @type {Set<string>} */
  const altered = new Set()
  let made = 0

  /** @param {string} text @param {readonly unknown[]} [params] */
  async function query(text, params = []) {
    return (await admin.query(text, [...params])).rows
  }

  /** @param {string} label @returns {Promise<Database>} */
  async function freshDatabase(label) {
    made += 1
    const name = `bugle_bench_${process.pid}_${made}_${label.toLowerCase().replaceAll(/[^a-z0-9]+/g, '_')}`.slice(0, 63)
    await admin.query(`create database ${name} template template0`)
    const databaseUrl = new URL(url)
    databaseUrl.pathname = `/${name}`
    const client = await connect(databaseUrl.href)
    clients.add(client)
    const drop = async () => {
      if (!drops.delete(drop)) return
      clients.delete(client)
      await client.end()
      await admin.query(`drop database ${name} with (force)`)
    }
    drops.add(drop)
    /** @type {Map<string, () => void>} */
    const listeners = new Map()
    client.on('notification', ({ channel }) => listeners.get(channel)?.())
    return {
      url: databaseUrl.href,
      name,
      /** @param {string} text @param {readonly unknown[]} [params] */
      query: async (text, params = []) => (await client.query(text, [...params])).rows,
      /** @param {string} channel @param {() => void} tell */
      async listen(channel, tell) {
        listeners.set(channel, tell)
        await client.query(`listen ${pg.escapeIdentifier(channel)}`)
      },
      async tidy() {
        await client.query('vacuum (analyze)')
        await client.query('checkpoint')
      },
      drop,
    }
  }

  /** @param {Readonly<Record<string, string | number | null>>} wanted */
  async function alter(wanted) {
    for (const [name, value] of Object.entries(wanted)) {
      const setting = pg.escapeIdentifier(name)
      if (value === null) await admin.query(`alter system reset ${setting}`)
      else await admin.query(`alter system set ${setting} = ${pg.escapeLiteral(String(value))}`)
      if (value === null) altered.delete(name)
      else altered.add(name)
    }
    const { rows } = await admin.query('select pg_conf_load_time() as loaded, pg_reload_conf()')
    await untilReloaded(url, rows[0].loaded)
  }

  return {
    url,
    isOurs: embedded !== null,
    settings: await settingsOf(admin, alsoTold),
    query,
    freshDatabase,
    alter,
    async stop() {
      try {
        if (embedded === null) {
          if (altered.size > 0) await alter(Object.fromEntries([...altered].map((name) => [name, null])))
          for (const drop of drops) await drop()
        }
        for (const client of clients) await client.end()
      } finally {
        await embedded?.stop()
      }
    },
  }
}

/**
 * What decides how fast a server can be, as it has it.
 *
 * @param {pg.Client} client
 * @param {readonly string[]} [alsoTold]
 * @returns {Promise<Readonly<Record<string, string>>>}
 */
export async function settingsOf(client, alsoTold = []) {
  const names = ['server_version', 'fsync', 'synchronous_commit', 'full_page_writes', 'shared_buffers', ...alsoTold]
  const { rows } = await client.query(
    'select name, current_setting(name) as value from pg_settings where name = any($1)',
    [names],
  )
  return Object.fromEntries(rows.map(({ name, value }) => [name, value]))
}

/**
 * A reload is a signal: old sessions follow at their next command, new ones once the postmaster has.
 *
 * @param {string} url
 * @param {Date} before
 */
async function untilReloaded(url, before) {
  for (let tries = 0; tries < 100; tries += 1) {
    const client = await connect(url)
    try {
      const { rows } = await client.query('select pg_conf_load_time() as loaded')
      if (rows[0].loaded > before) return
    } finally {
      await client.end()
    }
  }
  throw new Error('the server does not reload its settings')
}
