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

// styleText reads it from the process, whatever stream it is given, and would paint what is no terminal.
delete process.env.FORCE_COLOR

/**
 * Run the command from `src`, in the test's own process, where it costs no start of Node.
 *
 * Its standard streams are no terminals, and no signal ever comes. `bugle work`, `bugle demo` and tests of signals,
 * pipes and terminals need a real process: see `startCli`.
 *
 * The promise resolves when a real process would end: the command has ended, and nothing that it opened would keep a
 * process alive. A command that forgets a connection or a timer makes its test time out; a process would hang.
 *
 * @returns the exit code that the command has set, and all that it has printed
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
  // The command asks `isTTY` before it uses what only a terminal's stream has.
  return {
    stream: Object.assign(stream, { isTTY: false }) as unknown as NodeJS.WriteStream,
    text: () => Buffer.concat(written).toString(),
  }
}

/** The bytes in pieces, as a pipe gives them: lines and characters are cut anywhere. */
function* piecesOf(bytes: Buffer): Generator<Buffer> {
  for (let from = 0; from < bytes.length; from += pieceBytes) yield bytes.subarray(from, from + pieceBytes)
}

const pieceBytes = 65_536

/** What keeps a process alive while it is open, unless it was told not to: sockets, timers. */
interface Handle {
  hasRef(): boolean
}

/** Tells which run a handle belongs to: commands may run side by side. */
const runs = new AsyncLocalStorage<object>()
/** The handles that runs have opened and that are not gone yet, by their asynchronous ids. */
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
    // Every promise costs more while it is on.
    if (running === 0) hook.disable()
    for (const [id] of own()) open.delete(id)
  }
}
