/** What the demo says, as text. */
import { bytesText, count, plural, shown } from '../terminal/text.js'
import type { About, Verdict } from './check.js'
import type { Found } from './files.js'
import { type Latencies, percentile } from './latency.js'
import type { OwnRun } from './protocol.js'

/** So many of a kind are named, the rest counted. */
const mostNamed = 20
/** Characters of a payload. */
const mostShown = 200

/** `  name              value`, aligned with all others. */
export function field(name: string, value: string): string {
  return `  ${name.padEnd(18)}${value}`
}

/** What was found below the folder, and what of it is no job. */
export function foundText(found: Found): string {
  const { files, links, others, oddNames, closed } = found
  const notes = [
    ...(links > 0 ? [`${plural(links, 'symbolic link')} not followed`] : []),
    ...(others > 0 ? [`${plural(others, 'pipe, socket or device', 'pipes, sockets and devices')} left out`] : []),
    ...(oddNames > 0 ? [`${plural(oddNames, 'name')} not valid UTF-8: put as bytes, shown with \\x..`] : []),
  ]
  const lines = [field('found', `${plural(files.length, 'file')}, ${bytesText(found.bytes)}`)]
  for (const note of notes) lines.push(field('', note))
  if (closed.length > 0) lines.push(field('', 'not looked into:'), ...named(closed))
  return lines.join('\n')
}

/** The user's own job: how it was put, and what its handler was given. */
export function ownText(queue: string, { id, payload, attempt, pid }: OwnRun): string {
  const text = shown(JSON.stringify(payload))
  return [
    field('your job', `await bugle.put(${shown(JSON.stringify(queue))}, ${cut(text)})`),
    field('', `is job ${id}; process ${pid} ran its handler with that payload, at attempt ${attempt}`),
  ].join('\n')
}

function cut(text: string): string {
  return text.length > mostShown ? `${text.slice(0, mostShown)}…` : text
}

export interface Figures {
  readonly jobs: number
  /** From the first put to the last job settled. */
  readonly tookMs: number
  readonly latencies: Latencies
  readonly verdict: Verdict
}

export function resultText({ jobs, tookMs, latencies, verdict }: Figures): string {
  const { hashedBytes, gzipBytes, byWorker } = verdict
  const seconds = tookMs / 1000
  const hashed = [...byWorker.values()].reduce((sum, files) => sum + files, 0)
  const shares = [...byWorker].sort(([a], [b]) => a - b).map(([worker, files]) => `worker ${worker} ${count(files)}`)
  const ratio = hashedBytes > 0 ? ` (${((100 * gzipBytes) / hashedBytes).toFixed(1)} %)` : ''
  return [
    'Result',
    field('files', `${count(hashed)} hashed and gzipped${shares.length > 0 ? `: ${shares.join(', ')}` : ''}`),
    field('bytes', `${bytesText(hashedBytes)}, gzipped ${bytesText(gzipBytes)}${ratio}`),
    field('jobs per second', jobs === 0 ? 'no jobs' : `${count(Math.round(jobs / seconds))} (${seconds.toFixed(1)} s)`),
    '',
    latencyText(latencies),
  ].join('\n')
}

function latencyText({ putToStart, bareInsert }: Latencies): string {
  const row = (name: string, p50: string, p99: string, note: string) =>
    field(name, `${p50.padStart(9)}  ${p99.padStart(9)}   ${note}`.trimEnd())
  const put = { p50: percentile(putToStart, 50), p99: percentile(putToStart, 99) }
  const bare = { p50: percentile(bareInsert, 50), p99: percentile(bareInsert, 99) }
  return [
    row('', 'p50', 'p99', ''),
    row('put to start', msText(put.p50), msText(put.p99), 'from before put() until the handler starts elsewhere'),
    row('bare insert', msText(bare.p50), msText(bare.p99), 'insert … returning into a plain table'),
    row('ratio', (put.p50 / bare.p50).toFixed(2), (put.p99 / bare.p99).toFixed(2), ''),
  ].join('\n')
}

/** The check's outcome: what is in order, and what is not, by name. */
export function checkText({ equal, refused, rewritten, differences }: Verdict, jobs: number): string {
  const lines = ['Check']
  if (refused.length > 0) {
    lines.push(field('refused', `${plural(refused.length, 'file')} that cannot be read, nor can the check:`))
    lines.push(...named(refused))
  }
  if (rewritten.length > 0) {
    lines.push(
      field('written to', `${plural(rewritten.length, 'file')} since the job was put; worker and check read the same:`),
    )
    lines.push(...named(rewritten))
  }
  if (differences.length > 0) {
    lines.push(field('FAILED', `${plural(differences.length, 'difference')}:`), ...named(differences))
    lines.push(field('', `${plural(equal, 'hash', 'hashes')} found to be equal`))
    return lines.join('\n')
  }
  lines.push(field('ok', `${plural(equal, 'hash', 'hashes')} equal to those of an independent pass`))
  lines.push(field('ok', `${plural(jobs, 'job')} ran exactly once, and ${leftText(refused.length)}`))
  return lines.join('\n')
}

function leftText(refused: number): string {
  return refused === 0 ? 'the job table is empty' : `only the ${count(refused)} refused are left in the job table`
}

function named(list: readonly About[]): string[] {
  const lines = list.slice(0, mostNamed).map(({ path, reason }) => {
    return field('', `  ${shown(path === null ? reason : `${path}: ${reason}`)}`)
  })
  if (list.length > mostNamed) lines.push(field('', `  and ${count(list.length - mostNamed)} more`))
  return lines
}

function msText(ms: number): string {
  return `${ms.toFixed(2)} ms`
}
