/**
 * How one supervisor knows whether another one is alive: by a Unix socket in the directory that it looks after.
 *
 * The kernel refuses connections to it from the moment its process is gone, however that ended. A pid in a file would
 * have to be guarded against recycling, and means nothing to another container that shares the temporary directory.
 */
import { rename, rm } from 'node:fs/promises'
import { createConnection, createServer, type Socket } from 'node:net'
import { join } from 'node:path'

/** A socket in every home. A client sees when the supervisor has left, because the connection closes. */
export const socketName = 'supervisor.sock'

/** What a supervisor says to a client. */
export type SupervisorState = 'running' | 'stopping'

interface Holder {
  /** `running` also when it does not answer in time: it exists, and that counts. */
  state: SupervisorState
  /** Its process is gone. */
  gone: Promise<void>
  /** Stop looking. */
  leave(): void
}

/**
 * Show that this process looks after `home`, until it ends. A dead socket is replaced.
 *
 * @param state - asked at each connection
 * @returns false if another process came first
 */
export async function holdHome(home: string, state: () => SupervisorState): Promise<boolean> {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.resume()
    socket.write(`${state()}\n`)
  })
  // Taken away under another name before it is judged: then two takers never both believe to have removed a dead one.
  const taken = `${socketName}.${process.pid}`
  const isTaken = await rename(join(home, socketName), join(home, taken)).then(
    () => true,
    () => false,
  )
  if (isTaken) {
    const holder = await findHolder(home, taken)
    if (holder !== undefined) {
      holder.leave()
      await rename(join(home, taken), join(home, socketName))
      return false
    }
    await rm(join(home, taken), { force: true })
  }
  return new Promise((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'EADDRINUSE') resolve(false)
      else reject(error)
    })
    server.once('listening', () => resolve(true))
    inDirectory(home, () => server.listen(socketName))
    // It ends with the process only: closing it would remove the file, which may be another one by then.
    server.unref()
  })
}

/** Who looks after `home`; undefined when nobody does. */
export async function findHolder(home: string, name = socketName): Promise<Holder | undefined> {
  const socket = inDirectory(home, () => createConnection(name))
  const gone = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  const isConnected = await new Promise<boolean>((resolve, reject) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', (error: NodeJS.ErrnoException) => {
      if (error.code === 'ECONNREFUSED' || error.code === 'ENOENT') resolve(false)
      else reject(error)
    })
  })
  if (!isConnected) return undefined
  socket.on('error', () => {})
  return { state: await firstWord(socket, gone), gone, leave: () => socket.destroy() }
}

async function firstWord(socket: Socket, gone: Promise<void>): Promise<SupervisorState> {
  let timer: NodeJS.Timeout | undefined
  const word = await Promise.race([
    new Promise<string>((resolve) => socket.once('data', (chunk) => resolve(chunk.toString().trim()))),
    new Promise<string>((resolve) => {
      timer = setTimeout(resolve, 1000, 'running')
    }),
    gone.then(() => 'stopping'),
  ])
  clearTimeout(timer)
  return word === 'stopping' ? 'stopping' : 'running'
}

// A socket's path has 103 to 107 bytes at most, a directory's may be longer: so we go there and use the bare name.
// Node binds and connects before the call returns, so nobody sees the change of directory.
function inDirectory<T>(directory: string, action: () => T): T {
  const before = process.cwd()
  process.chdir(directory)
  try {
    return action()
  } finally {
    process.chdir(before)
  }
}
