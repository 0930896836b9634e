import { type ChildProcess, fork } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { unlessAborted } from '../deadline.js'
import type { Answer, Order, OwnRun } from './protocol.js'

/** The worker processes, seen from the main process. Disposing stops them. */
interface Workers extends AsyncDisposable {
  readonly pids: readonly number[]
  /** Start a consumer in each; resolves when all consume. */
  start(order: Omit<Order & { do: 'start' }, 'do' | 'number'>): Promise<void>
  /** Resolves when nothing runs in any of them and each saw the queue empty. */
  idle(): Promise<void>
}

interface WorkersParts {
  readonly count: number
  /** Ends every wait. */
  readonly signal: AbortSignal
  /** A worker died or gave up: the run cannot go on. */
  readonly fail: (error: Error) => void
  readonly onCounted: (worker: number, settled: number, lastAtNs: bigint) => void
  readonly onWoken: (number: number, afterNs: bigint) => void
  readonly onOwn: (run: OwnRun) => void
  /** Something that a person should know, and that the workers deal with themselves. */
  readonly onNews: (text: string) => void
}

/** How long a worker may take to stop before it is killed. */
const stopMs = 5_000
/** How long the demo waits for a database that is away. The library itself would wait for ever. */
const patienceMs = 30_000

// The compiled file: the same path from src/ and from dist/.
const program = fileURLToPath(new URL('../../dist/demo/worker.js', import.meta.url))

export function forkWorkers(parts: WorkersParts): Workers {
  const { count, signal } = parts
  let isStopping = false
  const children = Array.from({ length: count }, (_, index) => forkOne(index + 1))

  function forkOne(number: number): Child {
    // No arguments of our own node: a debugger's port can be had only once.
    const child = fork(program, [], { execArgv: [], stdio: ['ignore', 'inherit', 'inherit', 'ipc'] })
    const waiting = new Map<Answer['is'], () => void>()
    const exited = new Promise<void>((resolve) => {
      child.once('exit', (code, by) => {
        if (!isStopping) parts.fail(new Error(`worker ${number} (process ${child.pid}) ${howItEnded(code, by)}`))
        resolve()
      })
      child.once('error', (error) => {
        parts.fail(new Error(`worker ${number}: ${error.message}`, { cause: error }))
        if (child.pid === undefined) resolve()
      })
    })
    let patience: NodeJS.Timeout | undefined
    void exited.then(() => clearTimeout(patience))

    child.on('message', (answer: Answer) => {
      switch (answer.is) {
        case 'counted':
          return parts.onCounted(number, answer.settled, BigInt(answer.lastAtNs))
        case 'woken':
          return parts.onWoken(answer.number, BigInt(answer.afterNs))
        case 'own':
          return parts.onOwn(answer)
        case 'failed':
          return parts.fail(new Error(`worker ${number}: ${answer.reason}`))
        case 'database':
          return aboutDatabase(answer.reason)
        default:
          waiting.get(answer.is)?.()
      }
    })

    function aboutDatabase(reason: string | null): void {
      clearTimeout(patience)
      if (isStopping) return
      if (reason === null) {
        parts.onNews(`worker ${number}: the database is back`)
        return
      }
      parts.onNews(`worker ${number}: the database is away (${reason}); waiting`)
      patience = setTimeout(() => {
        parts.fail(new Error(`worker ${number}: the database has been away for ${patienceMs / 1000} s`))
      }, patienceMs)
    }

    return {
      process: child,
      exited,
      ask(order, answer) {
        const answered = new Promise<void>((resolve) => waiting.set(answer, resolve))
        tell(child, order)
        return unlessAborted(answered, signal)
      },
    }
  }

  async function stop({ process: child, exited }: Child): Promise<void> {
    tell(child, { do: 'stop' })
    const enough = new AbortController()
    const late = sleep(stopMs, 'late', { signal: enough.signal }).catch(() => 'late')
    if ((await Promise.race([exited, late])) === 'late') child.kill('SIGKILL')
    enough.abort()
    await exited
  }

  return {
    pids: children.flatMap(({ process: child }) => child.pid ?? []),
    async start(order) {
      await Promise.all(children.map(({ ask }, index) => ask({ ...order, do: 'start', number: index + 1 }, 'started')))
    },
    async idle() {
      await Promise.all(children.map(({ ask }) => ask({ do: 'idle' }, 'idle')))
    },
    async [Symbol.asyncDispose]() {
      isStopping = true
      await Promise.all(children.map(stop))
    },
  }
}

interface Child {
  readonly process: ChildProcess
  readonly exited: Promise<void>
  ask(order: Order, answer: Answer['is']): Promise<void>
}

function tell(child: ChildProcess, order: Order): void {
  // With a callback, a child that is gone is no uncaught error; its exit tells of it.
  if (child.connected) child.send(order, () => {})
}

function howItEnded(code: number | null, signal: NodeJS.Signals | null): string {
  return signal === null ? `ended with exit code ${code}` : `died by ${signal}`
}
