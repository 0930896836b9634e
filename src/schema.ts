/**
 * Schemas of payloads, from whichever library: zod, valibot, arktype and others share one interface.
 *
 * It is written out here, so that none of them, nor a package of types, is needed.
 */
import { isPlainObject, kindOf, label } from './checks.js'
import { deadline } from './deadline.js'
import { BugleError, describe, toError } from './errors.js'
import { isReadable, pathStep, read } from './reading.js'

/**
 * A schema that says whether a value is an `Input`, and makes an `Output` of it.
 *
 * @see https://standardschema.dev (version 1)
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': StandardProps<Input, Output>
}

interface StandardProps<Input = unknown, Output = Input> {
  readonly version: 1
  /** The library's name. */
  readonly vendor: string
  readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
  /** For the compiler only: there is nothing in it at run time. */
  readonly types?: { readonly input: Input; readonly output: Output } | undefined
}

/** `issues`, even none, means refused. */
type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

interface StandardIssue {
  readonly message: string
  /** From the value inwards. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

/** What a schema takes. */
export type InputOf<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['input']

/** What a schema makes of it. */
export type OutputOf<Schema extends StandardSchema> = NonNullable<Schema['~standard']['types']>['output']

/** A schema for each kind of one queue's jobs. */
interface KindSchemas {
  readonly [kind: string]: StandardSchema
}

/** A schema for each queue, or for each kind of it. Has no prototype: a queue may be called `constructor`. */
export interface SchemasByQueue {
  readonly [queue: string]: StandardSchema | KindSchemas
}

/**
 * The option of `createBugle`: `{ emails: schema, media: { thumb: schema, probe: schema } }`.
 *
 * @returns a copy, frozen, of the two levels of objects; the schemas are the caller's own
 * @throws BugleError `INVALID_OPTION`, for names that no queue or kind can have as well
 */
export function schemasOption(value: unknown): SchemasByQueue {
  return copyOf('schemas', value, (at, name, entry) => {
    label('a queue in schemas', name, 128)
    return isSchema(at, entry) ? entry : kindSchemas(at, entry)
  })
}

function kindSchemas(at: string, value: unknown): KindSchemas {
  const schemas = kindsOf(at, value)
  // Else no put of that queue could be right.
  if (Object.keys(schemas).length === 0) throw invalid(`${at} must have a schema for at least one kind; got {}`)
  return schemas
}

function kindsOf(at: string, value: unknown): KindSchemas {
  return copyOf(at, value, (at, name, entry) => {
    label('a kind in schemas', name, 128)
    if (isSchema(at, entry)) return entry
    throw invalid(`${at} must be a Standard Schema (an object with ~standard); got ${kindOf(entry)}`)
  })
}

function copyOf<T>(what: string, value: unknown, check: (at: string, name: string, entry: unknown) => T) {
  const copy: Record<string, T> = Object.create(null)
  for (const [name, entry] of entriesOf(what, value)) copy[name] = check(what + pathStep(name), name, entry)
  return Object.freeze(copy)
}

function entriesOf(what: string, value: unknown): [string, unknown][] {
  return reading(what, () => {
    if (isPlainObject(value)) return Object.entries(value)
    const rule =
      what === 'schemas'
        ? 'must be an object of schemas by queue'
        : 'must be a Standard Schema (an object with ~standard) or an object of them by kind'
    throw invalid(`${what} ${rule}; got ${kindOf(value)}`)
  })
}

/** @throws BugleError `INVALID_OPTION`, for what means to be a schema and is none */
function isSchema(what: string, value: unknown): value is StandardSchema {
  return reading(what, () => {
    if (!isReadable(value) || !('~standard' in value)) return false
    const standard = value['~standard']
    if (!isReadable(standard)) throw invalid(`${what}["~standard"] must be an object; got ${kindOf(standard)}`)
    const { version, validate } = standard as { version?: unknown; validate?: unknown }
    if (version !== 1) throw invalid(`${what}["~standard"].version must be 1; got ${describe(version)}`)
    if (typeof validate === 'function') return true
    throw invalid(`${what}["~standard"].validate must be a function; got ${kindOf(validate)}`)
  })
}

/** Reads what is not ours: a getter or proxy that throws is a refusal. */
function reading<T>(what: string, read: () => T): T {
  try {
    return read()
  } catch (thrown) {
    const error = toError(thrown)
    throw error instanceof BugleError ? error : invalid(`${what} cannot be read: ${describe(thrown)}`, thrown)
  }
}

/** The schema for one job, if there is one for its queue and kind. */
export function schemaFor(schemas: SchemasByQueue, queue: string, kind: string | null): StandardSchema | undefined {
  const entry = Object.hasOwn(schemas, queue) ? schemas[queue] : undefined
  if (entry === undefined || '~standard' in entry) return entry as StandardSchema | undefined
  return kind !== null && Object.hasOwn(entry, kind) ? entry[kind] : undefined
}

/** A schema may ask a database; but one that never answers must not keep a put, or a slot, for ever. */
const validateMs = 30_000

// A message is a line for operators, not a report: the cause has everything.
const mostIssues = 5
const mostSegments = 20
const mostChars = 200

/**
 * What the schema makes of a value: a put hands it the caller's payload, a consumer the stored one.
 *
 * @param what - the value's name in messages and the start of paths: `payload.to: Invalid email`
 * @param rules - `timeoutMs`: how long the schema may take, for tests
 * @returns the output, which may be another value than the input, of another type
 * @throws BugleError `VALIDATION_FAILED`. Refused: the message lists the first five issues, `cause` is the array of
 *   all. The schema threw, answered with what is no result, or not within 30 seconds: `cause` is that error.
 */
export async function validate(
  schema: StandardSchema,
  value: unknown,
  what: string,
  rules: { readonly timeoutMs: number } = { timeoutMs: validateMs },
): Promise<unknown> {
  let answer: Answer
  try {
    answer = await deadline(ask(schema, value), rules.timeoutMs, 'validate')
  } catch (thrown) {
    throw failed(`${what} could not be checked by its schema: ${describe(thrown)}`, thrown)
  }
  if (answer.issues === undefined) return answer.output
  throw failed(summary(what, answer.issues), answer.issues)
}

type Answer = { readonly output: unknown; readonly issues?: undefined } | { readonly issues: readonly unknown[] }

async function ask(schema: StandardSchema, value: unknown): Promise<Answer> {
  const result: unknown = await schema['~standard'].validate(value)
  if (!isReadable(result)) throw new TypeError(`validate() must return an object; got ${describe(result)}`)
  const { issues } = result as { issues?: unknown }
  if (Array.isArray(issues)) return { issues }
  if (issues) throw new TypeError(`issues must be an array; got ${kindOf(issues)}`)
  if (!('value' in result)) throw new TypeError('validate() must return a value or issues; got neither')
  // Awaited here: the caller's `await` would wait without an end for an output that has a `then`.
  return { output: await result.value }
}

/** `payload.to: Invalid email; payload.age: Expected number; and 3 more` */
function summary(what: string, issues: readonly unknown[]): string {
  const length = read(issues, 'length')
  const count = typeof length === 'number' ? length : 0
  const lines = Array.from({ length: Math.min(count, mostIssues) }, (_, index) => line(what, read(issues, index)))
  if (lines.length === 0) return `${what}: refused by its schema`
  if (count > mostIssues) lines.push(`and ${count - mostIssues} more`)
  return lines.join('; ')
}

function line(what: string, issue: unknown): string {
  const message = read(issue, 'message')
  const text = typeof message === 'string' ? message.slice(0, mostChars).replaceAll(/\s+/g, ' ').trim() : ''
  return `${what}${pathOf(read(issue, 'path'))}: ${text || 'invalid'}`
}

function pathOf(segments: unknown): string {
  let path = ''
  for (let index = 0; index < mostSegments && path.length < mostChars; index += 1) {
    const segment = read(segments, index)
    if (segment === undefined) return path
    path += pathStep(isReadable(segment) ? read(segment, 'key') : segment)
  }
  return `${path}…`
}

function failed(message: string, cause: unknown): BugleError {
  return new BugleError('VALIDATION_FAILED', message, { cause })
}

function invalid(message: string, cause?: unknown): BugleError {
  return new BugleError('INVALID_OPTION', message, cause === undefined ? {} : { cause })
}
