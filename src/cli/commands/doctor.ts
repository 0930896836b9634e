import { examine, type Finding, type FindingStatus } from '../../doctor/index.js'
import { resolveBugleOptions } from '../../options.js'
import { plural, shown } from '../../terminal/text.js'
import { type Cli, exitCodes } from '../cli.js'
import type { Output, Style } from '../output.js'

interface DoctorOptions {
  readonly listenUrl?: string
  readonly runningLongerThan?: number
  readonly transactionOlderThan?: number
}

/**
 * `bugle doctor`: look at the database, and say what is wrong with it and what to do. Exit code 1 if there is trouble.
 *
 * JSON, one line per finding: `{ "check": …, "status": "ok" | "trouble" | "note" | "skipped", "message": …, "remedy": …
 * | null, … }`, and what the check found in numbers and names.
 */
export async function doctor({ out, env, common }: Cli, options: DoctorOptions): Promise<number> {
  const { listenUrl } = options
  const resolved = resolveBugleOptions({ ...common, ...(listenUrl && { listenConnectionString: listenUrl }) }, env)
  const { runningLongerThan, transactionOlderThan } = options
  const findings = await examine(
    {
      schema: resolved.schema,
      connection: resolved.connection,
      listenConnection: resolved.listenConnection,
      thresholds: {
        ...(runningLongerThan !== undefined && { runningLongerThanMs: runningLongerThan }),
        ...(transactionOlderThan !== undefined && { transactionOlderThanMs: transactionOlderThan }),
      },
      now: Date.now,
    },
    (finding) => tell(out, finding),
  )
  const troubles = findings.filter(({ status }) => status === 'trouble').length
  out.say(out.paint(troubles > 0 ? 'red' : 'green', verdict(findings, troubles)))
  return troubles > 0 ? exitCodes.trouble : exitCodes.ok
}

const styles: Readonly<Record<FindingStatus, Style>> = { ok: 'green', trouble: 'red', note: 'yellow', skipped: 'dim' }
const nameWidth = 'notification-queue'.length

function tell(out: Output, { check, status, message, remedy, details }: Finding): void {
  out.json({ check, status, message, remedy, ...details })
  out.say(`${out.paint(styles[status], status.padEnd(7))}  ${check.padEnd(nameWidth)}  ${shown(message)}`)
  if (remedy === null || status === 'ok') return
  const indent = ' '.repeat(7 + 2)
  for (const line of remedy.split('\n')) out.say(`${indent}${out.paint('cyan', shown(line))}`)
}

function verdict(findings: readonly Finding[], troubles: number): string {
  const count = (status: FindingStatus): number => findings.filter((finding) => finding.status === status).length
  const beside = [
    ...(count('note') > 0 ? [plural(count('note'), 'note')] : []),
    ...(count('skipped') > 0 ? [`${count('skipped')} left out`] : []),
  ]
  return [troubles > 0 ? plural(troubles, 'trouble') : 'no trouble found', ...beside].join(', ')
}
