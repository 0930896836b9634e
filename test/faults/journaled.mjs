import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openJournal } from './journal.mjs'
import { openVerdict } from './verdict.mjs'

/**
 * A run that is judged by a journal: with a server of its own, and a file beside it that all processes append to.
 *
 * @param {Pick<import('./verdict.mjs').RunParts, 'snapshot' | 'tell'>} parts
 * @param {Record<string, string | number>} settings of the server
 * @param {(own: Journaled) => Promise<string>} run resolves with the summary
 *
 * @typedef {object} Journaled
 * @property {typeof import('../../dist/index.js').createBugle} createBugle
 * @property {import('../../dist/embedded/index.js').EmbeddedPostgres} server
 * @property {ReturnType<typeof openJournal>} journal the harness's own
 * @property {string} path of the journal
 * @property {(text: string) => void} log
 * @property {(text: string) => void} violation
 * @property {(() => unknown)[]} cleanups called at the end, the last one first, whatever came of the run
 */
export async function runJournaled({ snapshot, tell }, settings, run) {
  /** @type {typeof import('../../dist/index.js')} */
  const { createBugle } = await import(snapshot.bugleUrl)
  /** @type {typeof import('../../dist/embedded/index.js')} */
  const { startEmbedded } = await import(snapshot.embeddedUrl)
  const { violations, log, violation } = openVerdict(tell)
  const directory = mkdtempSync(join(tmpdir(), 'bugle-journal-'))
  const path = join(directory, 'journal')
  const journal = openJournal(path, 'harness')
  const server = await startEmbedded({ settings })
  /** @type {Journaled['cleanups']} */
  const cleanups = []
  try {
    return { violations, summary: await run({ createBugle, server, journal, path, log, violation, cleanups }) }
  } catch (error) {
    violation(`the run itself has failed: ${error instanceof Error ? error.stack : error}`)
    return { violations, summary: 'not finished' }
  } finally {
    for (const cleanup of cleanups.reverse()) await cleanup()
    await server.stop()
    journal.close()
    rmSync(directory, { recursive: true, force: true })
  }
}
