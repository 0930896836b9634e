import type { Host } from './connection.js'

/**
 * Which server an instance of Bugle is on: known once, for all its sessions.
 *
 * Every way to a database may lead elsewhere from one moment to the next: an address moves, a list has several hosts, a
 * former primary comes back and takes writes. Sessions that choose each for themselves end up on different servers:
 * notifications are then sent on one and listened to on the other, and jobs run on both. So each session of ours, of
 * whatever kind, asks its server who it is before it is used, and is admitted here.
 *
 * A server is known by its system identifier, which a cluster shares with its standbys and backups, and by its
 * timeline, which each promotion raises. The rules:
 *
 * 1. A standby is no server for us, whatever the number of hosts: it takes no writes. Nor is one where our transactions
 *    are read only by a setting (default_transaction_read_only): whoever has made it wants no writes of ours.
 * 2. A timeline below the highest that was seen of its system is a former primary. It is refused for good: what is
 *    written there is lost, or contradicts what the new one holds. Only a restart of the process forgets it.
 * 3. A session on another server than the one in use moves the instance there. Every session that is not on it is told
 *    to leave, and looks for a server anew.
 * 4. To another system the instance moves once per back-off. In between, sessions with any system but the one in use
 *    are refused.
 * 5. The host that was admitted last is tried first.
 *
 * **Why rule 4.** A name may lead to two systems that both take writes: it has two records, or a copy was left running.
 * Sessions that are opened one after the other find now the one and now the other, and each would take all others
 * along, as fast as sessions can be opened. Which of the two is meant cannot be known here, so neither is refused for
 * good, as a single change of the address must be followed at once. So the first move is free, and the back-off after
 * it doubles with each further one, up to half a minute. Between two moves everything is on one system, and works. It
 * begins anew when no other system was met for five minutes. Each back-off in which the other system was met is told
 * once. The price: an address that is moved twice within moments is followed the second time after the back-off, and
 * meanwhile it is an outage. Promotions are no such moves: rule 2 lets the timeline of a system only rise, so they
 * cannot go in a circle.
 *
 * What can interleave: admission and its rules are one turn of the event loop, and a session can be told to leave from
 * that turn on. So of two sessions that are opened at once and find two servers, the later one decides, and the former
 * leaves; or the later one is refused, by rule 2 or 4. Whichever order, none is left on the other server. And of many
 * that find the other system when a back-off is over, the first one moves the instance, and begins the next back-off.
 *
 * Where a server does not tell its identity (some managed ones), only rules 1 and 5 hold.
 */
export interface Primary {
  /** Where the instance is now; null: nothing was reached yet. */
  readonly server: DatabaseServer | null
  /** The same hosts, in the order in which to try them. */
  inOrder(hosts: readonly Host[]): readonly Host[]
  /**
   * A fresh session's server.
   *
   * @param leave - called once, if the instance moves to another server while the session is there
   * @returns to be called when the session has ended
   * @throws RefusedServerError; ReadOnlyError
   */
  admit(found: FoundServer, host: Host, way: Way, leave: (error: Error) => void): () => void
}

/** Whether a session may take the instance to another system, or must be where the pools are. */
export type Way =
  /** The way of statements. */
  | 'leads'
  /** A way of its own, for sessions only (`listenConnectionString`). */
  | 'follows'

interface ServerIdentity {
  /** A decimal string. */
  readonly system: string
  readonly timeline: number
}

/** What a fresh session finds. */
export interface FoundServer {
  readonly standby: boolean
  /** Transactions are, by a setting of the role's, the database's or the server's (default_transaction_read_only). */
  readonly readOnly: boolean
  /** null: it is a standby, or does not tell. */
  readonly identity: ServerIdentity | null
}

/** A server, as operators see it. */
export interface DatabaseServer {
  readonly host: string
  readonly port: number
  /** PostgreSQL's `system_identifier`, a decimal string, which standbys and backups share; null: it does not tell. */
  readonly system: string | null
  /** Raised by each promotion; null: it does not tell. */
  readonly timeline: number | null
}

interface PrimaryOptions {
  readonly onMoved: (from: DatabaseServer, to: DatabaseServer) => void
  /** A former primary takes writes, and was refused. Once for each until the next move. */
  readonly onOutdated: (error: Error) => void
  /** Another system takes writes, and was refused, as the instance has just moved. Once until the next move. */
  readonly onSplit: (error: Error) => void
  readonly now: () => number
}

/** From a move to another system to the next such move. */
const moveMs = { least: 1_000, most: 30_000 } as const
/** Where no other system was met for so long, the way leads to one. */
const calmMs = 300_000

export function createPrimary({ onMoved, onOutdated, onSplit, now }: PrimaryOptions): Primary {
  const highest = new Map<string, number>()
  const present = new Map<object, { readonly identity: ServerIdentity; readonly leave: (error: Error) => void }>()
  const admittedAt = new Map<string, number>()
  const outdated = new Set<string>()
  let admissions = 0
  let server: DatabaseServer | null = null
  /** When another system was met, and when the instance moved to one; and how long it stays there at least. */
  let metAt = Number.NEGATIVE_INFINITY
  let movedAt = Number.NEGATIVE_INFINITY
  let staysMs = 0
  let isSplitTold = false

  function refuse(identity: ServerIdentity, host: Host, way: Way): void {
    const seen = highest.get(identity.system) ?? 0
    if (identity.timeline < seen) {
      const error = new RefusedServerError(
        `${describeServer(serverOf(identity, host))} is a former primary: timeline ${seen} of the same system was ` +
          'seen. If it was put back on purpose, restart this process',
      )
      const key = `${describeHost(host)} ${identity.system}/${identity.timeline}`
      if (!outdated.has(key)) onOutdated(error)
      outdated.add(key)
      throw error
    }
    if (server === null || server.system === null || server.system === identity.system) return
    if (way === 'follows') {
      throw new RefusedServerError(
        `listenConnectionString leads to ${describeServer(serverOf(identity, host))}, ` +
          `and connectionString to another one, ${describeServer(server)}`,
      )
    }
    demandMayMove(server, serverOf(identity, host))
  }

  /** The next thing is to move to another system. */
  function demandMayMove(from: DatabaseServer, to: DatabaseServer): void {
    const at = now()
    if (at - metAt > calmMs) staysMs = 0
    metAt = at
    if (at < movedAt + staysMs) {
      const error = new RefusedServerError(
        `${describeServer(to)} takes writes, and so does another system, ${describeServer(from)}: the connection ` +
          'leads to both. Make it lead to one; until then everything of this process is on one of them, and changes ' +
          `over every ${staysMs / 1000} s at most`,
      )
      if (!isSplitTold) onSplit(error)
      isSplitTold = true
      throw error
    }
    staysMs = staysMs === 0 ? moveMs.least : Math.min(2 * staysMs, moveMs.most)
    movedAt = at
    isSplitTold = false
  }

  function use(next: DatabaseServer): void {
    const former = server
    server = next
    if (former === null || former.system === null) return
    outdated.clear()
    const error = new LeftServerError(`another server is in use: ${describeServer(next)}`)
    for (const [key, { identity, leave }] of present) {
      if (isSame(identity, next)) continue
      present.delete(key)
      leave(error)
    }
    onMoved(former, next)
  }

  return {
    get server() {
      return server
    },
    inOrder(hosts) {
      const at = (host: Host): number => admittedAt.get(describeHost(host)) ?? 0
      return hosts.toSorted((one, other) => at(other) - at(one))
    },
    admit({ standby, readOnly, identity }, host, way, leave) {
      demandWriter({ standby, readOnly }, describeHost(host))
      if (identity !== null) refuse(identity, host, way)
      admissions += 1
      admittedAt.set(describeHost(host), admissions)
      if (identity === null) {
        server ??= serverOf(null, host)
        return () => {}
      }
      highest.set(identity.system, identity.timeline)
      if (server === null || !isSame(server, identity)) use(serverOf(identity, host))
      const key = {}
      present.set(key, { identity, leave })
      return () => void present.delete(key)
    },
  }
}

/**
 * What holds for every server of ours, also where no instance is (`bugle migrate`).
 *
 * @param server - how it is named in the message
 * @throws RefusedServerError; ReadOnlyError
 */
export function demandWriter({ standby, readOnly }: Omit<FoundServer, 'identity'>, server: string): void {
  if (standby) throw new RefusedServerError(`${server} is a standby, and cannot be written to`)
  if (readOnly) throw new ReadOnlyError()
}

/** A server that will not do, now or for good: the session with it is not used. */
class RefusedServerError extends Error {
  override name = 'RefusedServerError'
  // "the database system is ... not accepting" connections like ours: the class that is tried again.
  readonly code = '57P03'
}

/** Transactions are read only here, by a setting that somebody has made: it is theirs to take back. */
export class ReadOnlyError extends Error {
  override name = 'ReadOnlyError'
  // As of a standby: somebody may let us write later.
  readonly code = '57P03'
  constructor() {
    super(
      'transactions of this role are read only here (default_transaction_read_only is on): ' +
        '`bugle doctor` says how to take that back',
    )
  }
}

/** The instance has moved, and this session was left behind: what it had sent may have been carried out. */
class LeftServerError extends Error {
  override name = 'LeftServerError'
  readonly code = 'CONNECTION_CLOSED'
}

/** As the statement `state_identified` tells it: `7301234567890123456/00000002`. */
export function readIdentity(text: unknown): ServerIdentity | null {
  const [, system, timeline] = /^(\d+)\/([0-9A-F]{8})$/.exec(String(text)) ?? []
  return system === undefined || timeline === undefined ? null : { system, timeline: Number.parseInt(timeline, 16) }
}

/** `db1:5432 (timeline 2 of system 7301234567890123456)` */
export function describeServer({ host, port, system, timeline }: DatabaseServer): string {
  return `${describeHost({ host, port })}${system === null ? '' : ` (timeline ${timeline} of system ${system})`}`
}

function describeHost({ host, port }: Host): string {
  return `${host.includes(':') ? `[${host}]` : host}:${port}`
}

function serverOf(identity: ServerIdentity | null, { host, port }: Host): DatabaseServer {
  return Object.freeze({ host, port, system: identity?.system ?? null, timeline: identity?.timeline ?? null })
}

type Place = Pick<DatabaseServer, 'system' | 'timeline'>

function isSame(one: Place, other: Place): boolean {
  return one.system === other.system && one.timeline === other.timeline
}
