import { onTestFinished, vi } from 'vitest'
import type * as lookAheadModule from '../../src/consume/claim/look-ahead.js'
import type { ExpressJob } from '../../src/consume/express/batch.js'
import type * as laneModule from '../../src/consume/express/lane.js'
import type { Lane, LaneEnd, LaneParts } from '../../src/consume/express/lane.js'
import type { LaneSession } from '../../src/consume/express/lane-session.js'
import type * as lanesModule from '../../src/consume/express/lanes.js'
import type * as whenModule from '../../src/consume/express/when.js'
import type { Bugle, BugleOptions, ConsumeOptions, Consumer, Job, JobContext } from '../../src/index.js'
import type * as lagModule from '../../src/worker/lag.js'
import type * as trustModule from '../../src/worker/trust.js'
import type { TestDatabase } from './database.js'
import { signal } from './signal.js'
import { until } from './until.js'

/** How lanes differ from those of a program. */
export interface LaneHow {
  /** Look-ahead after a full claim; default: 200. 'earned': as handlers earn it */
  readonly ahead?: number | 'earned'
  /** From a claim's answer to the cut, in ms; default: as ever. */
  readonly mostMs?: number
  /** How long a job may be held; default: as ever. */
  readonly patienceMs?: number
  /** 'always': a loss is no reason not to have a lane; default: none is needed at the start. */
  readonly trusts?: 'always'
  /** For how long the server has run, in ms; default: an hour. */
  readonly upMs?: number
  /** false: after a lane's end the next one may come at once. */
  readonly pauses?: false
  /** The event loop counts as blocked while it says so; call `opened` when it does not any more. */
  readonly lag?: { isLagging: boolean; opened?: () => void }
  /** Lanes side by side; default: 1, so that a test knows which one takes a job. */
  readonly together?: number
  /** In place of the opening of a session. */
  readonly open?: (open: () => Promise<LaneSession>) => Promise<LaneSession>
}

/** A lane of a consumer, as it was seen. */
export interface SeenLane {
  readonly lane: Lane
  readonly workerId: string
  /** What it has claimed. */
  readonly batches: (readonly ExpressJob[])[]
  end: LaneEnd | null
}

export interface LaneConsumer {
  readonly bugle: Bugle
  readonly consumer: Consumer
  readonly name: string
  /** In the order of their making. */
  readonly lanes: readonly SeenLane[]
  /** Whether a lane has claimed the job. */
  isOnLane(id: string): boolean
  /** Waits until a lane holds jobs. @returns the process of its session, which has locked the table */
  untilOpen(): Promise<number>
  /** Waits until a handler of the lane's batch has begun in so many slots. @returns the batch */
  untilBegun(slots: number): Promise<readonly ExpressJob[]>
  /** Waits until lanes have claimed so many batches more. */
  untilClaimed(batches: number): Promise<void>
  /** Runs so many jobs of the queue, as bugle/testing does. */
  step(handler: () => unknown, jobs: number): Promise<void>
  /** The processes of lanes that are there. */
  backends(): Promise<number[]>
}

export interface LaneConsumerOptions extends LaneHow {
  readonly bugle?: Omit<BugleOptions, 'logger'>
  readonly consume?: ConsumeOptions
  readonly handler: (job: Job, context: JobContext<Bugle>, here: LaneConsumer) => unknown
  /** In place of `handler`, by kind. */
  readonly handlers?: Readonly<Record<string, () => unknown>>
  readonly onFailed?: (job: Job, error: Error) => unknown
  /** Called before the consumer begins. */
  readonly before?: (bugle: Bugle) => void
}

/** Holds what a lane waits for: its session, or the answers to a message. */
export interface HeldLane {
  readonly open: NonNullable<LaneHow['open']>
  /** Resolves when it waits. */
  readonly waits: Promise<void>
  release(): void
}

/** @param at - the opening, or the statement whose message is held */
export function holdLane(at: 'opening' | 'express_claim' | 'express_commit'): HeldLane {
  const waits = signal()
  const released = signal()
  onTestFinished(() => released.resolve())
  return {
    async open(open) {
      const session = await open()
      if (at === 'opening') {
        waits.resolve()
        await released.promise
        return session
      }
      return {
        ...session,
        get lost() {
          return session.lost
        },
        exchange(statements) {
          const answers = session.exchange(statements)
          if (statements.every(({ name }) => name !== at)) return answers
          waits.resolve()
          const held = answers.map((answer) => released.promise.then(() => answer))
          for (const answer of held) answer.catch(() => {})
          return held
        },
      }
    },
    waits: waits.promise,
    release: released.resolve,
  }
}

/** What the mocks read: of the test that runs. */
let how: LaneHow = {}
let lanes: SeenLane[] = []
let onLane = new Set<string>()
let instances = 0

/**
 * Bugle, loaded anew, for consumers that have a lane soon: they take their server for one that has run for an hour, and
 * the first full claim for enough. All else is as ever. Call it once per file.
 */
export async function lanesOpenSoon() {
  vi.resetModules()
  const files = {
    '../../src/worker/trust.js': trusting,
    '../../src/worker/lag.js': lagging,
    '../../src/consume/claim/look-ahead.js': lookingAhead,
    '../../src/consume/express/when.js': hurried,
    '../../src/consume/express/lane.js': seen,
    '../../src/consume/express/lanes.js': together,
  } as const
  for (const [file, changed] of Object.entries(files)) {
    vi.doMock(file, async (importOriginal) => changed(await importOriginal<never>()))
  }
  const { createBugle } = await import('../../src/index.js')
  const { internalsOf } = await import('../../src/internals.js')
  for (const file of Object.keys(files)) vi.doUnmock(file)
  vi.resetModules()

  /** On the queue 'q'. */
  return async function laneConsumer(db: TestDatabase, options: LaneConsumerOptions): Promise<LaneConsumer> {
    how = options
    lanes = []
    onLane = new Set()
    instances += 1
    const { connectionString, schema, sql } = db
    const name = `lanes ${instances} of ${schema}`
    const given = { connectionString, schema, name, sweepMs: 0, logger: false as const, ...options.bugle }
    const bugle = createBugle(given) as unknown as Bugle
    onTestFinished(() => bugle.close({ graceMs: 0, abortMs: 0 }).then(() => {}))
    options.before?.(bugle)
    const seenHere = lanes
    const claimed = onLane
    const here = {
      bugle,
      name,
      lanes: seenHere,
      isOnLane: (id: string) => claimed.has(id),
      step: (handler: () => unknown, jobs: number) =>
        internalsOf(bugle).step('q', handler, {}, { jobs, onClaimed: () => {} }, (_job, _context, next) => next()),
      async untilOpen() {
        const rows = await until(async () => {
          const found = await sql<{ pid: number }[]>`
            select pid from pg_stat_activity join pg_locks using (pid)
            where application_name = ${`${name} lane`}
              and relation = ${`${db.s}.job`}::regclass
              and mode = 'RowShareLock'`
          return found.length > 0 && found
        })
        return rows[0]?.pid ?? 0
      },
      untilBegun: (slots: number) =>
        until(() => {
          const batch = seenHere.at(-1)?.batches.at(-1)
          return batch !== undefined && batch.filter(({ part }) => part === 'begun').length >= slots && batch
        }),
      async untilClaimed(batches: number) {
        const claimed = () => seenHere.reduce((sum, lane) => sum + lane.batches.length, 0)
        const from = claimed()
        await until(() => claimed() >= from + batches)
      },
      async backends() {
        const rows = await sql<{ pid: number }[]>`
          select pid from pg_stat_activity where application_name = ${`${name} lane`}`
        return rows.map(({ pid }) => pid)
      },
    }
    const consumer = await bugle.consume(
      'q',
      options.handlers ??
        ((job: Job, context: JobContext<Bugle>) => options.handler(job, context, here as unknown as LaneConsumer)),
      { ...options.consume, ...(options.onFailed && { onFailed: options.onFailed }) },
    )
    return Object.assign(here, { consumer })
  }
}

function trusting(original: typeof trustModule): typeof trustModule {
  return {
    ...original,
    createTrust(now) {
      const trust = original.createTrust(now)
      return {
        get isTrusted() {
          return how.trusts === 'always' || trust.isTrusted
        },
        present: () => trust.present(how.upMs ?? 3_600_000),
        lost: (what) => {
          if (how.trusts === undefined) trust.lost(what)
        },
      }
    },
  }
}

function together(original: typeof lanesModule): typeof lanesModule {
  return { ...original, createLanes: (parts) => original.createLanes({ ...parts, together: how.together ?? 1 }) }
}

function lagging(original: typeof lagModule): typeof lagModule {
  return {
    ...original,
    createLag(options) {
      const lag = original.createLag(options)
      const { lag: made } = how
      if (made === undefined) return lag
      made.opened = options.onFree
      return {
        ...lag,
        get isLagging() {
          return made.isLagging
        },
      }
    },
  }
}

function lookingAhead(original: typeof lookAheadModule): typeof lookAheadModule {
  return {
    ...original,
    createLookAhead(options, now) {
      const { ahead = 200, patienceMs } = how
      const real = original.createLookAhead(options, now)
      if (ahead === 'earned' || options.prefetch !== 'earned') return real
      const constant = original.createLookAhead({ ...options, prefetch: ahead }, now)
      let isEarned = false
      return {
        get jobs() {
          return isEarned ? constant.jobs : 0
        },
        patienceMs: patienceMs ?? real.patienceMs,
        ended: constant.ended,
        answered(signs) {
          isEarned = signs.isFull
          constant.answered(signs)
        },
        lost() {
          isEarned = false
        },
        suspected: constant.suspected,
      }
    },
  }
}

function hurried(original: typeof whenModule): typeof whenModule {
  return {
    ...original,
    createLaneTimes(now) {
      const times = original.createLaneTimes(now)
      const { ended } = how.pauses === undefined ? times : { ended: () => {} }
      // Beside other tests a claim may be slow, and a lane would end for that.
      return { ...times, ended, claimed: (claim) => times.claimed({ ...claim, tookMs: 0 }) }
    },
  }
}

function seen(original: typeof laneModule): typeof laneModule {
  return {
    ...original,
    createLane(parts: LaneParts) {
      const { mostMs = parts.mostMs, open = (session) => session() } = how
      const claimed = onLane
      const lane = original.createLane({
        ...parts,
        mostMs,
        openSession: (onLost) => open(() => parts.openSession(onLost)),
        start(jobs) {
          entry.batches.push(jobs)
          for (const job of jobs) claimed.add(job.claimed.job.id)
          parts.start(jobs)
        },
      })
      const entry: SeenLane = { lane, workerId: parts.workerId, batches: [], end: null }
      lanes.push(entry)
      const { run } = lane
      lane.run = async () => {
        entry.end = await run()
        return entry.end
      }
      return lane
    },
  }
}
