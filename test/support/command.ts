import { AsyncLocalStorage, createHook } from 'node:async_hooks'
import { EventEmitter } from 'node:events'
import { Readable, Writable } from 'node:stream'
import { runCommand } from '../../src/cli/main.js'
import type { Host } from '../../src/terminal/host.js'
import { until } from './until.js'

export interface CommandCall {
  readonly env: NodeJS.ProcessEnv
  /** What standard input has before it ends. */
  readonly input?: string | Uint8Array
}

export interface CommandEnded {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

// styleText asks the process itself, whatever stream it is given: these tests run in what is no terminal.
delete process.env.FORCE_COLOR

/**
 * Run the command from `src`, in the test's own process, where it costs no start of Node.
 *
 * Its standard streams are no terminals, and no signal ever comes. `bugle work` and `bugle demo` need a process of
 * their own, and so does what a test says of signals, pipes and terminals: see `startCli`.
 *
 * Resolves once a process of its own would have ended: nothing is open any more that keeps one alive. A command that
 * forgets a connection or a timer makes its test time out, as it would make its process hang.
 */
export async function runInProcess(args: readonly string[], { env, input = '' }: CommandCall): Promise<CommandEnded> {
  const stdout = collected()
  const stderr = collected()
  const host: Host & EventEmitter = Object.assign(new EventEmitter(), {
    argv: ['node', 'bugle', ...args],
    env,
    stdin: Readable.from(piecesOf(Buffer.from(input)), { objectMode: false }),
    stdout: stdout.stream,
    stderr: stderr.stream,
    exitCode: undefined,
    exit(): never {
      throw new Error('a command that ends its process at once needs one of its own')
    },
  })
  await untilFree(() => runCommand(host))
  return { code: Number(host.exitCode), stdout: stdout.text(), stderr: stderr.text() }
}

/** A stream that is no terminal, and what was written to it. */
function collected(): { readonly stream: NodeJS.WriteStream; text(): string } {
  const written: Buffer[] = []
  const stream = new Writable({
    write(chunk: Buffer, _, done) {
      written.push(chunk)
      done()
    },
  })
  // Of a terminal's stream the command uses what others have not only behind `isTTY`.
  return {
    stream: Object.assign(stream, { isTTY: false }) as unknown as NodeJS.WriteStream,
    text: () => Buffer.concat(written).toString(),
  }
}

/** As a pipe gives it: lines and characters are cut anywhere. */
function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let from = 0; from < bytes.length; from += pieceBytes) yield bytes.subarray(from, from + pieceBytes)
}

const pieceBytes = 65_536

/** What keeps a process alive while it is open, unless it was told not to: sockets, timers. */
interface Handle {
  hasRef(): boolean
}

/** The run that goes on, in all that comes of it. */
const runs = new AsyncLocalStorage<object>()
/** What was opened in a run and is not gone yet, by its asynchronous id. */
const open = new Map<number, { readonly run: object; readonly handle: Handle }>()
const hook = createHook({
  init(id, _type, _trigger, resource) {
    const run = runs.getStore()
    if (run !== undefined && 'hasRef' in resource) open.set(id, { run, handle: resource as Handle })
  },
  destroy: (id) => void open.delete(id),
})
let running = 0

/** Call it, and wait until nothing of what it has opened keeps a process alive. */
async function untilFree(call: () => Promise<void>): Promise<void> {
  const run = {}
  const own = () => [...open].filter(([, opened]) => opened.run === run)
  running += 1
  hook.enable()
  try {
    await runs.run(run, call)
    await until(() => own().every(([, { handle }]) => !handle.hasRef()))
  } finally {
    running -= 1
    // While it is on, every promise costs more.
    if (running === 0) hook.disable()
    for (const [id] of own()) open.delete(id)
  }
}
