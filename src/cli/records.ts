import type { JobRecord, JobState } from '../admin/record.js'
import { shown } from '../terminal/text.js'
import type { Output, Style } from './output.js'

/** Jobs, for people and as JSON. */

/** What is the application's own, which is shown only to those who ask for it. */
const contents = ['payload', 'progress', 'result'] as const

/** A JobRecord, without payload, progress and result unless they are asked for. */
export function toJson(job: JobRecord, withPayload: boolean): Partial<JobRecord> {
  if (withPayload) return job
  return Object.fromEntries(
    Object.entries(job).filter(([name]) => !(contents as readonly string[]).includes(name)),
  ) as Partial<JobRecord>
}

const styles: { readonly [State in JobState]?: Style } = {
  running: 'cyan',
  failed: 'red',
  archived: 'dim',
  scheduled: 'dim',
}

export function stateText(out: Output, state: JobState): string {
  const style = styles[state]
  return style === undefined ? state : out.paint(style, state)
}

/** `3 of 5` */
export function attemptText({ attempt, maxAttempts }: JobRecord): string {
  return maxAttempts === null ? String(attempt) : `${attempt} of ${maxAttempts}`
}

/** The first line, harmless, at most so long. */
export function firstLine(text: string, length: number): string {
  const line = shown(text.split('\n', 1)[0] ?? '')
  return line.length > length ? `${line.slice(0, length - 1)}…` : line
}

/** Any value that was stored, on one line. */
export function valueText(value: unknown): string {
  // A codec may have made of it what JSON cannot hold.
  return shown(JSON.stringify(value) ?? String(value))
}
