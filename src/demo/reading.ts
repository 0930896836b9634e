import { constants } from 'node:fs'
import { type FileHandle, open } from 'node:fs/promises'

/** An error of the operating system, such as EACCES. */
interface SystemError extends Error {
  readonly code: string
  readonly syscall: string
}

export function isSystemError(error: unknown): error is SystemError {
  return error instanceof Error && 'syscall' in error && 'code' in error && typeof error.code === 'string'
}

/** `EACCES: permission denied`, without the path, which stands beside it anyway. */
export function reasonOf(error: SystemError): string {
  const [reason] = error.message.split(`, ${error.syscall}`)
  return reason ?? error.code
}

/** What was found as a regular file is none any more. */
class NotRegular extends Error {
  override name = 'NotRegular'
  readonly code = 'NOT_REGULAR'
  readonly syscall = 'open'
  constructor() {
    super('NOT_REGULAR: no longer a regular file')
  }
}

// Between being found and being opened a file may have become a link that leads elsewhere, or a pipe that nobody
// writes to, at which an open would wait for ever. Windows knows neither flag.
const { O_RDONLY, O_NOFOLLOW = 0, O_NONBLOCK = 0 } = constants

/**
 * Open a regular file and hand it to `read`; it is closed when that is done.
 *
 * @throws SystemError where it cannot be opened or read, or is not a regular file
 */
export async function withFile<T>(path: Buffer, read: (file: FileHandle, bytes: number) => Promise<T>): Promise<T> {
  const file = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK)
  try {
    const stats = await file.stat()
    if (!stats.isFile()) throw new NotRegular()
    return await read(file, stats.size)
  } finally {
    await file.close()
  }
}
