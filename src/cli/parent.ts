/** How soon it is noticed; a container is given 10 s and more to stop. */
const lookEveryMs = 500

const signals = ['SIGINT', 'SIGTERM'] as const

interface ParentWatchParts {
  readonly env: NodeJS.ProcessEnv
  /** The process that has started this one. Read it early: it may be gone while a user's module loads. */
  readonly parent: number
  /** Called before the signal, with what an operator should read. */
  readonly onGone: (message: string) => void
}

/**
 * Stop, as at SIGTERM, when the process that has started this one is gone.
 *
 * `npx` and `npm run` start a command by way of a shell. They hand SIGTERM on to the shell, which ends at it without a
 * word to the command: the worker would go on as an orphan, and whoever has sent the signal believes that it stopped.
 *
 * Only where a package manager has started us, by the variables that npm, pnpm and Yarn set. A script of package.json
 * that sends the worker to the background (`bugle work … &`) looks the same from here, and ends it too.
 *
 * Some signals go to the whole group (from systemd, `tini -g`, dumb-init): this process hears them as well, and the
 * shell is gone at the same moment. That must not count twice, since a second signal aborts running jobs. So a signal
 * that was heard ends the watch. While a handler blocks the event loop, such a signal waits, and a look that is due
 * comes before it: only the second look that finds the parent gone counts. By then the signal was heard.
 */
export function stopWithParent({ env, parent, onGone }: ParentWatchParts): void {
  if (env.npm_command === undefined && env.npm_lifecycle_event === undefined) return
  let looksGone = 0
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    looksGone += 1
    if (looksGone < 2) return
    end()
    onGone('the package manager that has started this process is gone')
    process.kill(process.pid, 'SIGTERM')
  }, lookEveryMs)
  timer.unref()
  function end(): void {
    clearInterval(timer)
    for (const name of signals) process.off(name, end)
  }
  for (const name of signals) process.on(name, end)
}
