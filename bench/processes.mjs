/** Child processes with messages of a type each; and what a child uses for its side. */
import { fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

/**
 * @typedef {object} Child
 * @property {number} pid
 * @property {(type: string, data?: unknown) => void} send
 * @property {(type: string, withinMs?: number) => Promise<any>} next the data of the next message of this type, also of
 *   one that came already; rejects when the child ends first, or when it is late
 * @property {(type: string, data?: unknown) => Promise<any>} ask send, and await the next message of the same type
 * @property {(type: string, listener: (data: any) => void) => void} on call for every message of this type from now on;
 *   none of them is kept for `next`
 * @property {Promise<number | null>} exited
 * @property {(type: string) => Promise<void>} end tell it, by that message, to end; kill it if it takes too long
 * @property {() => Promise<void>} kill at once, and without a word; resolves once it is gone
 */

/** More than anything that is asked of a child takes: nothing waits for ever. */
const patienceMs = 15 * 60_000
const endingMs = 30_000

/** @type {Set<Child>} */
const living = new Set()

/** Whoever is left of a run that failed. */
export async function killChildren() {
  await Promise.all([...living].map((child) => child.kill()))
}

/**
 * Start a script as a process of its own. What it prints goes to our stderr, since our stdout carries the results.
 *
 * @param {URL | string} path
 * @param {unknown} [args] as the child's `args`
 * @param {{ execArgv?: readonly string[], mayEnd?: boolean }} [options] `execArgv`: for Node; `mayEnd`: an end by
 *   itself is part of what is measured, and no failure of the run
 * @returns {Child}
 */
export function spawnChild(path, args = {}, { execArgv = [], mayEnd = false } = {}) {
  const child = fork(path, [JSON.stringify(args)], {
    execArgv: [...execArgv],
    // bigint, typed arrays and NaN survive it.
    serialization: 'advanced',
    stdio: ['ignore', 2, 2, 'ipc'],
  })
  /** @type {Map<string, unknown[]>} */
  const came = new Map()
  /** @type {Map<string, { resolve: (data: any) => void, reject: (error: Error) => void }[]>} */
  const awaited = new Map()
  /** @type {Map<string, (data: any) => void>} */
  const listeners = new Map()
  let hasExited = false
  let wasKilled = false

  child.on('message', (message) => {
    const { type, data } = /** @type {{ type: string, data: unknown }} */ (message)
    const listener = listeners.get(type)
    if (listener !== undefined) return listener(data)
    const first = awaited.get(type)?.shift()
    if (first !== undefined) first.resolve(data)
    else listOf(came, type).push(data)
  })

  /** @type {Promise<number | null>} */
  const exited = new Promise((resolve) => {
    child.on('exit', (code, signal) => {
      hasExited = true
      living.delete(self)
      const error = new Error(`${path} ended by itself: ${code ?? signal}`)
      for (const waiting of awaited.values()) for (const { reject } of waiting) reject(error)
      awaited.clear()
      resolve(code)
      // Nobody may be waiting for a word of it just then.
      if (code !== 0 && !wasKilled && !mayEnd) process.exitCode = 1
    })
  })

  /** @param {string} type */
  async function next(type, withinMs = patienceMs) {
    const first = came.get(type)
    if (first !== undefined && first.length > 0) return first.shift()
    if (hasExited) throw new Error(`${path} has ended`)
    /** @type {NodeJS.Timeout | undefined} */
    let watch
    const said = new Promise((resolve, reject) => {
      listOf(awaited, type).push({ resolve, reject })
      watch = setTimeout(() => reject(new Error(`${path} has not said '${type}' for ${withinMs / 1_000} s`)), withinMs)
    })
    return said.finally(() => clearTimeout(watch))
  }

  /** @param {string} type @param {unknown} [data] */
  function send(type, data) {
    // With a callback, a child that is gone is no uncaught error; whoever waits for its answer is told.
    if (!hasExited) child.send({ type, data }, () => {})
  }

  async function kill() {
    wasKilled = true
    if (!hasExited) child.kill('SIGKILL')
    await exited
  }

  /** @type {Child} */
  const self = {
    pid: child.pid ?? 0,
    send,
    next,
    ask(type, data) {
      send(type, data)
      return next(type)
    },
    on: (type, listener) => void listeners.set(type, listener),
    exited,
    async end(type) {
      send(type)
      await Promise.race([exited, sleep(endingMs, undefined, { ref: false }).then(kill)])
    },
    kill,
  }
  living.add(self)
  return self
}

/**
 * @template T
 * @param {Map<string, T[]>} lists
 * @param {string} key
 */
function listOf(lists, key) {
  const list = lists.get(key) ?? []
  lists.set(key, list)
  return list
}

/** In a child: what `spawnChild` was given. */
export function childArgs() {
  return JSON.parse(process.argv[2] ?? '{}')
}

/**
 * In a child: tell the parent.
 *
 * @param {string} type
 * @param {unknown} [data]
 */
export function say(type, data) {
  if (process.connected) process.send?.({ type, data }, () => {})
}

/**
 * In a child: do what the parent asks. What a handler resolves with is said under the same type, unless it is
 * undefined; what it throws ends the process. Without its parent it ends too.
 *
 * @param {Readonly<Record<string, (data: any) => unknown>>} handlers
 */
export function onMessage(handlers) {
  process.on('message', async (message) => {
    const { type, data } = /** @type {{ type: string, data: unknown }} */ (message)
    const handler = handlers[type]
    if (handler === undefined) throw new Error(`nothing is done for '${type}'`)
    const answer = await handler(data)
    if (answer !== undefined) say(type, answer)
  })
  process.on('disconnect', () => process.exit())
}

/** CLOCK_MONOTONIC in milliseconds: one clock for all processes of a machine. */
export function nowMs() {
  return Number(process.hrtime.bigint()) / 1e6
}
