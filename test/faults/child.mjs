import { fork } from 'node:child_process'
import { once } from 'node:events'

/**
 * A worker process of a run. Nobody ends it but the run: an end of its own is a violation.
 *
 * @param {URL} file
 * @param {object} args as JSON its first argument; with its `name`
 * @param {object} parts
 * @param {string} parts.name
 * @param {(text: string) => void} parts.log
 * @param {(text: string) => void} parts.violation
 * @param {readonly string[]} [parts.execArgv] for Node
 */
export function startChild(file, args, { name, log, violation, execArgv = [] }) {
  const child = fork(file, [JSON.stringify({ ...args, name })], {
    stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    execArgv: [...execArgv],
  })
  let isToEnd = false
  let output = ''
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding('utf8').on('data', (text) => {
      output = (output + text).slice(-4_000)
    })
  }
  const exited = once(child, 'close').then(([code, signal]) => {
    if (!isToEnd) violation(`${name} ended by itself (${signal ?? `exit code ${code}`}):\n${output}`)
    else if (output !== '') log(`${name} wrote:\n${output}`)
  })
  /** @type {Map<string, (message: any) => void>} */
  const awaited = new Map()
  child.on('message', (/** @type {any} */ message) => {
    if (message.did === 'log') log(`${name} ${message.text}`)
    awaited.get(message.did)?.(message)
    awaited.delete(message.did)
  })

  return {
    name,
    pid: child.pid ?? 0,
    exited,
    /**
     * The next message of that kind; rejects if the process ends first.
     *
     * @param {string} did
     * @returns {Promise<any>}
     */
    next: (did) =>
      Promise.race([
        new Promise((resolve) => awaited.set(did, resolve)),
        exited.then(() => {
          throw new Error(`${name} has ended before its '${did}'`)
        }),
      ]),
    /** @param {object} message */
    send: (message) => void child.send(message, () => {}),
    /** From now on its end is no violation. */
    mayEnd() {
      isToEnd = true
    },
    /** At once. Resolves when it is gone. */
    kill() {
      isToEnd = true
      child.kill('SIGKILL')
      return exited
    },
  }
}

/** @typedef {ReturnType<typeof startChild>} Child */
