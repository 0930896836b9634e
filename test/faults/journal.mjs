import { closeSync, openSync, readFileSync, writeSync } from 'node:fs'

/**
 * A ledger outside of the database: a file that all processes of a run append to, one line an entry. A line is in the
 * file when `write` returns, so a SIGKILL loses none; and lines of several processes are in the order in which they
 * were written.
 *
 * Each entry has `did`, `by` (the process) and `at` (ms of the machine's monotonic clock, which all processes share).
 *
 * @typedef {{ did: string, by: string, at: number } & Record<string, any>} Entry
 *
 * @param {string} path
 * @param {string} by
 */
export function openJournal(path, by) {
  const file = openSync(path, 'a')
  return {
    /** @param {{ did: string } & Record<string, unknown>} entry */
    write: (entry) => void writeSync(file, `${JSON.stringify({ ...entry, by, at: nowMs() })}\n`),
    /** @returns {Entry[]} in their order */
    read: () =>
      readFileSync(path, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line)),
    close: () => closeSync(file),
  }
}

/** @typedef {ReturnType<typeof openJournal>} Journal */

export function nowMs() {
  return Number(process.hrtime.bigint()) / 1e6
}

/**
 * What is known of a job, for a person.
 *
 * @param {readonly Entry[]} entries
 */
export function storyOf(entries) {
  const firstAt = entries[0]?.at ?? 0
  return entries
    .map(
      ({ did, by, at, token, ...rest }) => `    +${Math.round(at - firstAt)} ms ${by} ${did} ${JSON.stringify(rest)}`,
    )
    .join('\n')
}

/**
 * @template {Record<string, any>} About
 * @param {readonly About[]} entries
 * @returns {Map<number, About[]>} those about a job, by its token
 */
export function byToken(entries) {
  /** @type {Map<number, About[]>} */
  const jobs = new Map()
  for (const entry of entries) {
    if (entry.token === undefined) continue
    const job = jobs.get(entry.token)
    if (job === undefined) jobs.set(entry.token, [entry])
    else job.push(entry)
  }
  return jobs
}
