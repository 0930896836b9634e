import { resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { Bugle } from '../bugle.js'
import { isPlainObject, knownKeys, queueName } from '../checks.js'
import { type ConsumeOptions, resolveConsumerOptions } from '../consume/options.js'
import { resolveHandlers } from '../consume/run/handlers.js'
import { definitionNames } from '../define-worker.js'
import { describe, toError } from '../errors.js'
import { type BugleOptions, resolveBugleOptions } from '../options.js'
import type { HandlersOf } from '../queues.js'
import { suggestion } from '../suggest.js'
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

/**
 * Import a module of handlers: its default export is a `WorkerDefinition`, by `defineWorker` or as an object; or each
 * part of one is an export of its own, `queues` above all. What else it exports is its own business, unless it is
 * nearly the name of such a part.
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
  const definition = definitionOf(exported)
  demandNoMisspelt({ ...exported, ...byDefault(exported) }, definition)
  if (definition.queues === undefined) throw new Error(`it exports no queues; ${howTo}${functionsOf(exported)}`)
  const handlers = objectExport('queues', definition.queues)
  const options = objectExport('options', definition.options ?? {})
  const bugleOptions = objectExport('bugle', definition.bugle ?? {})
  bugleOptionsChecked(bugleOptions)
  const queues = new Map<string, QueueWork>()
  for (const [name, own] of Object.entries(handlers)) {
    queues.set(queueName(name), {
      handlers: handlersOf(name, own),
      options: optionsOf(name, (Object.hasOwn(options, name) ? options[name] : undefined) ?? {}),
    })
  }
  if (queues.size === 0) throw new Error(`queues is empty; ${howTo}`)
  demandByQueue(options, queues)
  return { queues, bugleOptions }
}

const howTo = 'give them as: export const queues = { emails: async (job) => { … } }'

/**
 * The default export, if it is an object. Of a CommonJS module this is all that it exports. Where a compiler has made
 * that module of an ES module (`__esModule`), the default export of the latter is in there, and counts too.
 */
function byDefault({ default: outer }: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> {
  if (!isPlainObject(outer)) return {}
  return outer.__esModule === true && isPlainObject(outer.default) ? { ...outer, ...outer.default } : outer
}

/** Each part by its name, or in the default export. Of a CommonJS module Node gives the same in both ways. */
function definitionOf(exported: Readonly<Record<string, unknown>>): Partial<Record<string, unknown>> {
  const others = byDefault(exported)
  return Object.fromEntries(
    definitionNames.map((name) => {
      const [own, other] = [exported[name], others[name]]
      if (own !== undefined && other !== undefined && own !== other) {
        throw new Error(`${name} is exported twice, by name and by default`)
      }
      return [name, own ?? other]
    }),
  )
}

/**
 * Refuse an object whose name is nearly that of a part that is missing: nobody would read it, and nothing would say so.
 *
 * @throws Error
 */
function demandNoMisspelt(
  exported: Readonly<Record<string, unknown>>,
  definition: Partial<Record<string, unknown>>,
): void {
  const missing = definitionNames.filter((name) => definition[name] === undefined)
  for (const [name, value] of Object.entries(exported)) {
    if (name === 'default' || !isPlainObject(value)) continue
    const meant = suggestion(name, missing)
    if (meant !== undefined) throw new Error(`it exports ${describe(name)}; did you mean ${meant}?`)
  }
}

/** @throws Error, BugleError */
function demandByQueue(options: Readonly<Record<string, unknown>>, queues: ReadonlyMap<string, QueueWork>): void {
  const ofOneQueue = resolveConsumerOptions({})
  for (const name of Object.keys(options)) {
    if (queues.has(name) || !Object.hasOwn(ofOneQueue, name)) continue
    const [queue] = queues.keys()
    throw new Error(`options are by queue, as { ${describe(queue)}: { ${name}: … } }; got ${describe(name)}`)
  }
  knownKeys('options', options, [...queues.keys()])
}

/** For whoever has exported each handler by its name. */
function functionsOf(exported: Readonly<Record<string, unknown>>): string {
  const all = { ...exported, ...byDefault(exported) }
  const names = Object.keys(all).filter((name) => typeof all[name] === 'function')
  return names.length === 0 ? '' : ` (it exports the functions ${names.join(', ')})`
}

function objectExport(what: string, value: unknown): Readonly<Record<string, unknown>> {
  if (isPlainObject(value)) return value as Readonly<Record<string, unknown>>
  throw new Error(`${what} must be an object; got ${describe(value)}`)
}

function handlersOf(queue: string, given: unknown): QueueWork['handlers'] {
  try {
    resolveHandlers(given, 'leave')
  } catch (error) {
    throw new Error(`queues: ${describe(queue)}: ${toError(error).message}`)
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
    throw new Error(`bugle: ${toError(error).message}`)
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
