import { percentile } from '../../demo/latency.js'
import { resolveFolder, resolveOwnJob } from '../../demo/options.js'
import { run, type Summary } from '../../demo/run.js'
import { toError } from '../../errors.js'
import { type Cli, exitCodes, Interrupted, Refusal } from '../cli.js'

interface DemoCommandOptions {
  readonly roles?: boolean
  readonly queue?: string
  /** JSON. */
  readonly payload?: string
}

/**
 * `bugle demo [FOLDER]`, in schemas of its own whatever `--schema` says. Exit code 1 where something is not as it
 * should be.
 *
 * JSON: `{ "isOk": …, "folder": …, "jobs": …, "files": …, "refused": [{ "path": …, "reason": … }], "rewritten": as
 * "refused", "differences": as "refused", "filesMs": …, "putToStart": { "p50Ms": …, "p99Ms": … }, "bareInsert": as
 * "putToStart" }`. `filesMs`: from the first put to the last file's job settled.
 */
export async function demo(
  { env, out, interruptible }: Cli,
  given: string | undefined,
  { roles = false, queue, payload }: DemoCommandOptions,
): Promise<number> {
  const folder = resolveFolder(given ?? '.', env)
  const own = resolveOwnJob(queue, payload)
  const screen = { say: out.say, aside: (speak: () => void) => speak(), progress: out.progress, end: out.end }
  try {
    const summary = await run({ folder, own, env, screen, withRoles: roles, signal: interruptible() })
    const isOk = summary.verdict.differences.length === 0
    out.json({ isOk, folder, ...inJson(summary) })
    return isOk ? exitCodes.ok : exitCodes.trouble
  } catch (error) {
    if (error instanceof Interrupted) throw error
    // A sentence for whoever tries it, such as what to install: a stack below it would say nothing more.
    throw new Refusal(toError(error).message)
  }
}

function inJson({ verdict, latencies, jobs, jobsPut, tookMs }: Summary) {
  const { refused, rewritten, differences } = verdict
  const figures = (values: readonly number[]) => ({ p50Ms: percentile(values, 50), p99Ms: percentile(values, 99) })
  return {
    jobs: jobsPut,
    files: jobs,
    refused,
    rewritten,
    differences,
    filesMs: jobs === 0 ? 0 : tookMs,
    putToStart: figures(latencies.putToStart),
    bareInsert: figures(latencies.bareInsert),
  }
}
