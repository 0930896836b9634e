import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Bugle } from '../bugle.js'
import { isPlainObject, knownKeys, queueName } from '../checks.js'
import { resolveHandlers } from '../consume/handlers.js'
import { describe, toError } from '../errors.js'
import { type BugleOptions, type ConsumeOptions, resolveBugleOptions, resolveConsumerOptions } from '../options.js'
import type { HandlersOf } from '../queues.js'
import { exitCodes, Refusal } from '../terminal/ending.js'

/** What the user's module says. */
export interface WorkModule {
  /** By queue; at least one. */
  readonly queues: ReadonlyMap<string, QueueWork>
  readonly bugleOptions: BugleOptions<Bugle>
}

export interface QueueWork {
  readonly handlers: HandlersOf<unknown, Bugle, unknown>
  readonly options: ConsumeOptions
}

/** Exports that name no queue. A queue of such a name is one of the default export. */
const reserved = ['default', 'options', 'bugle', '__esModule', 'module.exports']

/**
 * Import a module of handlers.
 *
 * - A named export is the queue of its name: a function for every job, or an object with one for each kind.
 * - The default export is an object of the same, for queues whose names are no identifiers, or `options` and `bugle`.
 * - The named export `options` has options of `consume`, by queue.
 * - The named export `bugle` has options of `createBugle`: schemas, codec, middleware, context, times.
 *
 * What is anything else is refused, since it may be a queue that would never be served: a helper belongs into another
 * module. So are a queue that is given twice, and options of a queue that is not there.
 *
 * @param path - relative to the working directory, or absolute
 * @throws Refusal; with the module's own error as `cause` where it threw
 */
export async function loadModule(path: string): Promise<WorkModule> {
  const exported = await importModule(path)
  try {
    return readModule(exported)
  } catch (error) {
    throw new Refusal(`${path}: ${toError(error).message}`)
  }
}

async function importModule(path: string): Promise<Readonly<Record<string, unknown>>> {
  const { href } = pathToFileURL(resolve(path))
  // A module that calls process.exit(), or awaits what never comes: silence, and perhaps exit code 0, would look like
  // work done.
  const tellEnd = (): void => {
    console.error(`bugle: ${path} ended the process, or waited for nothing, when it was imported`)
    process.exitCode = exitCodes.trouble
  }
  process.once('exit', tellEnd)
  try {
    return await import(href)
  } catch (thrown) {
    const error = toError(thrown)
    const { code, url } = error as { code?: unknown; url?: unknown }
    if (code === 'ERR_MODULE_NOT_FOUND' && url === href) throw new Refusal(`there is no module ${path}`)
    if (code === 'ERR_UNSUPPORTED_DIR_IMPORT' && url === href) throw new Refusal(`${path} is a directory; give a file`)
    if (code === 'ERR_UNKNOWN_FILE_EXTENSION' && /\.[mc]?tsx?$/.test(path)) {
      throw new Refusal(
        `${path}: Node ${process.versions.node} does not read TypeScript; compile it, or use Node 22.18 or newer`,
      )
    }
    throw new Refusal(`${path} threw when it was imported: ${error.message}`, { cause: error })
  } finally {
    process.off('exit', tellEnd)
  }
}

/** @throws Error, BugleError */
function readModule(exported: Readonly<Record<string, unknown>>): WorkModule {
  const byDefault = objectExport('the default export', exported.default ?? {})
  const options = objectExport('the export options', exported.options ?? {})
  const bugleOptions = objectExport('the export bugle', exported.bugle ?? {})
  const named = Object.entries(exported).filter(([name]) => !reserved.includes(name))
  bugleOptionsChecked(bugleOptions)
  const queues = new Map<string, QueueWork>()
  // Node gives a CommonJS module's exports twice: each by its name, and all of them as the default.
  const furtherByDefault = Object.entries(byDefault).filter(
    ([name, value]) => !(Object.hasOwn(exported, name) && exported[name] === value),
  )
  for (const [name, handlers] of [...named, ...furtherByDefault]) {
    if (queues.has(name)) throw new Error(`the queue ${describe(name)} is exported twice, by name and by default`)
    queues.set(queueName(name), {
      handlers: handlersOf(name, handlers),
      options: optionsOf(name, Object.hasOwn(options, name) ? options[name] : {}),
    })
  }
  if (queues.size === 0) throw new Error('it exports no queue (--help shows what a module exports)')
  knownKeys('the export options', options, [...queues.keys()])
  return { queues, bugleOptions }
}

function objectExport(what: string, value: unknown): Readonly<Record<string, unknown>> {
  if (isPlainObject(value)) return value as Readonly<Record<string, unknown>>
  throw new Error(`${what} must be an object; got ${describe(value)}`)
}

function handlersOf(queue: string, given: unknown): QueueWork['handlers'] {
  try {
    resolveHandlers(given, 'leave')
  } catch (error) {
    throw new Error(`the export ${describe(queue)} is no queue: ${toError(error).message}`)
  }
  return given as QueueWork['handlers']
}

/** Here it is known that the module is at fault, and not the command line. */
function bugleOptionsChecked(given: BugleOptions<Bugle>): void {
  // Where the module names no database the environment does, which is not its own.
  const env = { DATABASE_URL: 'postgres://localhost' }
  try {
    resolveBugleOptions(given as BugleOptions, env)
  } catch (error) {
    throw new Error(`the export bugle: ${toError(error).message}`)
  }
}

function optionsOf(queue: string, given: unknown): ConsumeOptions {
  try {
    resolveConsumerOptions(given as object)
  } catch (error) {
    throw new Error(`options of ${describe(queue)}: ${toError(error).message}`)
  }
  return given as ConsumeOptions
}
