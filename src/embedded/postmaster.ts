/** What a running server says about itself in its `postmaster.pid`. */
import { execFile } from 'node:child_process'
import { readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { promisify } from 'node:util'

interface Postmaster {
  pid: number
  /** `starting`, `ready`, `stopping`, `standby`; empty just after the start. */
  status: string
}

/**
 * The file's contents; undefined when there is none, or it is just being written.
 *
 * @see https://www.postgresql.org/docs/current/storage-file-layout.html
 */
export async function readPostmaster(dataDir: string): Promise<Postmaster | undefined> {
  const text = await readFile(join(dataDir, 'postmaster.pid'), 'utf8').catch(() => '')
  const lines = text.split('\n')
  const pid = Number(lines[0])
  return Number.isInteger(pid) && pid > 1 ? { pid, status: (lines[7] ?? '').trim() } : undefined
}

/**
 * Whether the process is a server of exactly this data directory. A pid that was left in a file may long belong to
 * somebody else.
 */
export async function isServerOf(pid: number, dataDir: string): Promise<boolean> {
  if (process.platform === 'linux') {
    // Empty for a process that has ended and is not collected yet.
    const [program = '', ...rest] = (await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')).split('\0')
    return basename(program) === 'postgres' && rest[rest.indexOf('-D') + 1] === dataDir
  }
  const shown = await promisify(execFile)('ps', ['-ww', '-o', 'args=', '-p', String(pid)]).catch(() => ({ stdout: '' }))
  const [program = ''] = shown.stdout.split(' -D ', 1)
  return basename(program) === 'postgres' && `${shown.stdout.trim()} `.includes(` -D ${dataDir} `)
}
