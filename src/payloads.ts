import type { Codec } from './codec.js'
import { BugleError, describe, toError } from './errors.js'
import type { Job } from './job.js'
import { encodePayload } from './payload.js'
import { type SchemasByQueue, type StandardSchema, schemaFor, validate } from './schema.js'

/**
 * The ways of an instance's values into the database and back: schemas, then codec, then JSON; and the same backwards.
 */
export interface Payloads {
  /**
   * A payload as JSON text, once its schema takes it. What is stored is what was put; what a schema makes of it is for
   * the handler, so that a schema that changes what it checks is applied once.
   *
   * @param what - its name in messages: `payload`, `payloads[3]`
   * @throws BugleError `VALIDATION_FAILED`, `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE`
   */
  encodeJob(queue: string, kind: string | null, payload: unknown, what: string): string | Promise<string>
  /** A result or progress as JSON text. @throws BugleError `INVALID_PAYLOAD`, `PAYLOAD_TOO_LARGE` */
  encode(value: unknown, what: string): string
  /**
   * A claimed job as its handler is to see it.
   *
   * @throws BugleError `VALIDATION_FAILED`, or `INVALID_PAYLOAD` where the codec refuses what is stored
   */
  prepare(job: Job): Job | Promise<Job>
  /** No job is anything else than what is stored of it: `prepare` calls nothing of the user's. */
  readonly isAsStored: boolean
  /** What the codec makes of a stored value. @throws what the codec throws */
  decode(stored: unknown): unknown
}

interface PayloadsOptions {
  readonly schemas: SchemasByQueue
  readonly codec: Codec | null
  readonly maxPayloadBytes: number
}

export function createPayloads({ schemas, codec, maxPayloadBytes }: PayloadsOptions): Payloads {
  function encode(value: unknown, what: string): string {
    return encodePayload(codec === null ? value : byCodec(codec, 'encode', value, what), {
      what,
      maxBytes: maxPayloadBytes,
    })
  }

  async function encodeChecked(schema: StandardSchema, payload: unknown, what: string): Promise<string> {
    await validate(schema, payload, what)
    return encode(payload, what)
  }

  async function prepareWith(schema: StandardSchema | undefined, job: Job): Promise<Job> {
    const decoded = codec === null ? job.payload : byCodec(codec, 'decode', job.payload, 'payload')
    const progress =
      codec === null || job.progress === null ? job.progress : byCodec(codec, 'decode', job.progress, 'progress')
    const payload = schema === undefined ? decoded : await validate(schema, decoded, 'payload')
    return Object.freeze({ ...job, payload, progress })
  }

  return {
    encodeJob(queue, kind, payload, what) {
      const schema = schemaFor(schemas, queue, kind)
      if (schema !== undefined) return encodeChecked(schema, payload, what)
      if (Object.hasOwn(schemas, queue)) throw unknownKind(Object.keys(schemas[queue] ?? {}), queue, kind, what)
      return encode(payload, what)
    },
    encode,
    prepare(job) {
      // A kind that this process has no schema for is a newer one's: its handler, if there is one, takes it as it is.
      const schema = schemaFor(schemas, job.queue, job.kind)
      return schema === undefined && codec === null ? job : prepareWith(schema, job)
    },
    isAsStored: codec === null && Object.keys(schemas).length === 0,
    decode: (stored) => (codec === null || stored === null ? stored : codec.decode(stored)),
  }
}

function unknownKind(kinds: readonly string[], queue: string, kind: string | null, what: string): BugleError {
  const got = kind === null ? 'no kind' : `the kind ${describe(kind)}`
  const known = kinds.map(describe).join(', ')
  return new BugleError(
    'VALIDATION_FAILED',
    `${what}: the queue ${describe(queue)} has schemas for the kinds ${known}; got ${got}`,
  )
}

function byCodec(codec: Codec, way: keyof Codec, value: unknown, what: string): unknown {
  try {
    return codec[way](value)
  } catch (error) {
    const message = `${what}: the codec cannot ${way} it: ${toError(error).message}`
    throw new BugleError('INVALID_PAYLOAD', message, { cause: error })
  }
}
