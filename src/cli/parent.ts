/** How soon it is noticed; a container is given 10 s and more to stop. */
const lookEveryMs = 500

/**
 * Stop, as at SIGTERM, when the process that has started this one is gone.
 *
 * `npx` and `npm run` start a command by way of a shell. They hand SIGTERM on to the shell, which ends at it without a
 * word to the command: the worker would go on as an orphan, and whoever has sent the signal believes that it stopped.
 *
 * Only where a package manager has started us, by the variables that npm, pnpm and Yarn set: a worker that was sent to
 * the background on purpose outlives its shell, and must.
 */
export function stopWithParent(env: NodeJS.ProcessEnv): void {
  if (env.npm_command === undefined && env.npm_lifecycle_event === undefined) return
  const parent = process.ppid
  const timer = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(timer)
    process.kill(process.pid, 'SIGTERM')
  }, lookEveryMs)
  timer.unref()
  // Who signals all processes of a group has signalled us as well: a second SIGTERM would abort what runs.
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => clearInterval(timer))
}
