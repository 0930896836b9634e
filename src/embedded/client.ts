/**
 * Our end of the line to a supervisor.
 *
 * It keeps our process alive only while an answer is awaited. So a program that has forgotten `stop()` can end, and
 * with it the server.
 */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { BugleError } from '../errors.js'
import type { Answer, Command, Failed, Ready, ShutdownMode, Task } from './protocol.js'
import { isWithin } from './shutdown.js'

export interface Supervisor {
  /**
   * The answer to a `serve` task.
   *
   * @throws BugleError what the supervisor says, or that it was silent for `timeoutMs`
   */
  ready(timeoutMs: number): Promise<Ready['ready']>
  /** @returns the new pid of the server */
  restart(mode: ShutdownMode, timeoutMs: number): Promise<number>
  /** Wait for its end; tell it to end if `closing` is `'close'`. False if it has not ended in time. */
  ended(timeoutMs: number, closing: 'close' | 'wait'): Promise<boolean>
  /** Its exit was in order: it has tidied up. */
  readonly isTidy: boolean
  kill(): void
}

type Message = Ready | Failed | Answer

export function startSupervisor(task: Task): Supervisor {
  const program = supervisorProgram(import.meta.url)
  const child = spawn(process.execPath, [program], {
    detached: true,
    // Not to hold the caller's directory.
    cwd: '/',
    env: supervisorEnvironment(),
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  const waiting = new Map<number | 'ready', (message: Message | Error) => void>()
  let lastId = 0
  let isTidy = false
  let isEnded = false
  let complaint = ''

  const end = new Promise<void>((resolve) => {
    const settle = (error: Error) => {
      isEnded = true
      for (const answer of waiting.values()) answer(error)
      waiting.clear()
      resolve()
    }
    child.once('error', (cause) => {
      settle(
        new BugleError('DATABASE_DOWN', `the server's supervisor could not be started: ${cause.message}`, { cause }),
      )
    })
    child.once('close', (code, signal) => {
      isTidy = code === 0
      settle(
        new BugleError('DATABASE_DOWN', `the server's supervisor has ended (${signal ?? code})\n${complaint}`.trim()),
      )
    })
  })
  child.stdin.on('error', () => {})
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    complaint = (complaint + text).slice(-2000)
  })
  createInterface({ input: child.stdout }).on('line', (line) => {
    const message = JSON.parse(line) as Message
    const key = 'id' in message ? message.id : 'ready'
    const answer = waiting.get(key)
    waiting.delete(key)
    answer?.(message)
  })
  tell(task)

  function tell(message: Task | Command): void {
    child.stdin.write(`${JSON.stringify(message)}\n`)
  }

  /** Alive for as long as `pending` is. */
  let held = 0
  async function holding<T>(pending: Promise<T>): Promise<T> {
    if (held++ === 0) hold(child, 'ref')
    try {
      return await pending
    } finally {
      if (--held === 0) hold(child, 'unref')
    }
  }

  async function answerTo(key: number | 'ready', timeoutMs: number): Promise<Message> {
    if (isEnded) throw new BugleError('DATABASE_DOWN', `the server's supervisor has ended\n${complaint}`.trim())
    const answer = new Promise<Message | Error>((resolve) => waiting.set(key, resolve))
    if (!(await isWithin(timeoutMs, answer))) {
      waiting.delete(key)
      throw new BugleError('DATABASE_DOWN', `the server's supervisor has not answered for ${timeoutMs} ms`)
    }
    const message = await answer
    if (message instanceof Error) throw message
    if ('failed' in message) throw new BugleError(message.failed.code, message.failed.message)
    return message
  }

  return {
    async ready(timeoutMs) {
      const message = await holding(answerTo('ready', timeoutMs))
      if ('ready' in message) return message.ready
      throw new TypeError(`an answer to no question: ${JSON.stringify(message)}`)
    },
    async restart(mode, timeoutMs) {
      const id = ++lastId
      if (!isEnded) tell({ id, restart: mode })
      const message = await holding(answerTo(id, timeoutMs))
      if ('pid' in message) return message.pid
      throw new TypeError(`an answer to no question: ${JSON.stringify(message)}`)
    },
    ended(timeoutMs, closing) {
      if (closing === 'close') child.stdin.end()
      return holding(isWithin(timeoutMs, end))
    },
    get isTidy() {
      return isTidy
    },
    kill() {
      child.kill('SIGKILL')
    },
  }
}

/**
 * The compiled file: the same path from src/ and from dist/.
 *
 * @param here - a module's URL in one of the two; undefined: a bundle in CommonJS has none
 * @throws BugleError `DATABASE_DOWN` where it is not there; `INVALID_OPTION` where Node cannot run it
 */
export function supervisorProgram(here: string | undefined): string {
  // The child process knows nothing of the hooks by which Yarn's own processes read its archives.
  if (here !== undefined && /\.zip\//.test(here)) {
    throw new BugleError(
      'INVALID_OPTION',
      'bugle/embedded starts a program of this package, which Node cannot run out of an archive of Yarn ' +
        '(PnP): set nodeLinker: node-modules in .yarnrc.yml',
    )
  }
  const program = here && fileURLToPath(new URL('../../dist/embedded/supervisor.js', here))
  if (program && existsSync(program)) return program
  throw new BugleError(
    'DATABASE_DOWN',
    `the program that supervises the server is missing (${program ?? 'this is a bundle'}): in a checkout ` +
      'npm run build makes it; in a bundle, leave bugle/embedded and bugle/testing out of it (external)',
  )
}

function hold(child: ChildProcessWithoutNullStreams, how: 'ref' | 'unref'): void {
  child[how]()
  for (const stream of [child.stdin, child.stdout, child.stderr]) if (stream instanceof Socket) stream[how]()
}

// What is meant for our process, such as an inspector's port or a loader, is not for the supervisor.
function supervisorEnvironment(): NodeJS.ProcessEnv {
  const { NODE_OPTIONS: _, ...environment } = process.env
  return environment
}
