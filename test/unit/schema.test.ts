import { type } from 'arktype'
import * as v from 'valibot'
import { describe, expect, test } from 'vitest'
import * as z from 'zod'
import { BugleError } from '../../src/errors.js'
import {
  type InputOf,
  type OutputOf,
  type StandardSchema,
  schemaFor,
  schemasOption,
  validate,
} from '../../src/schema.js'

type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false

function is<_ extends true>(): void {}

const zodSchema = z.object({
  to: z.email(),
  age: z.string().transform(Number),
  tags: z.array(z.object({ name: z.string() })).optional(),
})
const valibotSchema = v.object({
  to: v.pipe(v.string(), v.email()),
  age: v.pipe(v.string(), v.transform(Number)),
  tags: v.optional(v.array(v.object({ name: v.string() }))),
})
const arktypeSchema = type({
  to: 'string.email',
  age: 'string.numeric.parse',
  'tags?': type({ name: 'string' }).array(),
})

interface Put {
  to: string
  age: string
}
interface Handled {
  to: string
  age: number
}

/** A schema by hand, whose validate answers with whatever is given. */
function answering(answer: () => unknown): StandardSchema {
  return { '~standard': { version: 1, vendor: 'test', validate: answer as () => { value: unknown } } }
}

async function refusal(schema: StandardSchema, value: unknown, timeoutMs = 30_000): Promise<BugleError> {
  const error = await validate(schema, value, 'payload', { timeoutMs }).then(
    () => new Error('it was accepted'),
    (error: unknown) => error,
  )
  if (error instanceof BugleError && error.code === 'VALIDATION_FAILED') return error
  throw error
}

function refused(act: () => unknown): string {
  try {
    act()
  } catch (error) {
    if (error instanceof BugleError && error.code === 'INVALID_OPTION') return error.message
    throw error
  }
  throw new Error('it was accepted')
}

function fail(): never {
  throw new Error('hands off')
}

const allTraps: ProxyHandler<object> = { get: fail, has: fail, ownKeys: fail, getPrototypeOf: fail }

function revoked(): unknown {
  const { proxy, revoke } = Proxy.revocable([], {})
  revoke()
  return proxy
}

describe.each<[string, StandardSchema]>([
  ['zod', zodSchema],
  ['valibot', valibotSchema],
  ['arktype', arktypeSchema],
])('%s', (_, schema) => {
  test('is a schema of a queue and of a kind', () => {
    const schemas = schemasOption({ emails: schema, media: { thumb: schema } })
    expect(schemas.emails).toBe(schema)
    expect(schemas.media).toEqual({ thumb: schema })
  })

  test('makes its output of the value', async () => {
    expect(await validate(schema, { to: 'a@example.org', age: '42' }, 'payload')).toEqual({
      to: 'a@example.org',
      age: 42,
    })
  })

  test('refuses with the paths of the issues, and the issues as cause', async () => {
    const error = await refusal(schema, { to: 'nobody', age: '42', tags: [{ name: 'a' }, { name: 5 }] })
    const [to, name, ...others] = error.message.split('; ')
    expect(to).toMatch(/^payload\.to: .+/)
    expect(name).toMatch(/^payload\.tags\[1]\.name: .+/)
    expect(others).toEqual([])
    expect(Array.isArray(error.cause)).toBe(true)
    expect(error.cause).toHaveLength(2)
  })

  test('refuses a value of the wrong kind as a whole', async () => {
    expect((await refusal(schema, null)).message).toMatch(/^payload: .+/)
  })
})

test('the types of input and output are those of the library', () => {
  const zodPlain = z.object({ to: z.string(), age: z.string().transform(Number) })
  const valibotPlain = v.object({ to: v.string(), age: v.pipe(v.string(), v.transform(Number)) })
  const arktypePlain = type({ to: 'string', age: 'string.numeric.parse' })
  is<Equal<InputOf<typeof zodPlain>, Put>>()
  is<Equal<OutputOf<typeof zodPlain>, Handled>>()
  is<Equal<InputOf<typeof valibotPlain>, Put>>()
  is<Equal<OutputOf<typeof valibotPlain>, Handled>>()
  is<Equal<InputOf<typeof arktypePlain>, Put>>()
  is<Equal<OutputOf<typeof arktypePlain>, Handled>>()
  is<Equal<OutputOf<StandardSchema<string, number>>, number>>()
})

test('an asynchronous schema is waited for', async () => {
  const known = z.string().refine(async (id) => id === '1', 'Unknown id')
  expect(await validate(known, '1', 'payload')).toBe('1')
  expect((await refusal(known, '2')).message).toBe('payload: Unknown id')
  const even = v.pipeAsync(
    v.number(),
    v.checkAsync(async (n) => n % 2 === 0, 'Odd'),
  )
  expect(await validate(even, 2, 'payload')).toBe(2)
  expect((await refusal(even, 3)).message).toBe('payload: Odd')
})

describe('validate', () => {
  test('an output may be undefined, null or a promise', async () => {
    expect(
      await validate(
        answering(() => ({ value: undefined })),
        1,
        'payload',
      ),
    ).toBeUndefined()
    expect(
      await validate(
        answering(() => ({ value: null, issues: null })),
        1,
        'payload',
      ),
    ).toBeNull()
    expect(
      await validate(
        answering(() => ({ value: Promise.resolve(5) })),
        1,
        'payload',
      ),
    ).toBe(5)
  })

  test('keeps the schema as `this`', async () => {
    const standard = {
      version: 1 as const,
      vendor: 'test',
      validate(this: { vendor: string }) {
        return { value: this.vendor }
      },
    }
    expect(await validate({ '~standard': standard }, 1, 'payload')).toBe('test')
  })

  test.each<[string, unknown, string]>([
    ['no path', undefined, 'payload: Wrong'],
    ['an empty path', [], 'payload: Wrong'],
    ['keys', ['to', 'first'], 'payload.to.first: Wrong'],
    ['objects with keys', [{ key: 'to' }, { key: 0 }, { key: Symbol('x') }], 'payload.to[0][Symbol(x)]: Wrong'],
    ['numbers and symbols', [0, Symbol.iterator], 'payload[0][Symbol(Symbol.iterator)]: Wrong'],
    ['names that are no identifiers', ['a b', '0', ''], 'payload["a b"]["0"][""]: Wrong'],
    ['more levels than can be read', Array(50).fill('a'), `payload${'.a'.repeat(20)}…: Wrong`],
    ['long names', Array(5).fill('a'.repeat(200)), `payload${`["${'a'.repeat(99)}…]`.repeat(2)}…: Wrong`],
    ['what is no path', 5, 'payload: Wrong'],
  ])('an issue with %s', async (_, path, message) => {
    expect(
      (
        await refusal(
          answering(() => ({ issues: [{ message: 'Wrong', path }] })),
          1,
        )
      ).message,
    ).toBe(message)
  })

  test('five issues are told, the others counted', async () => {
    const issues = Array.from({ length: 7 }, (_, index) => ({ message: `Wrong ${index}`, path: [index] }))
    const error = await refusal(
      answering(async () => ({ issues })),
      1,
    )
    expect(error.message).toBe(
      'payload[0]: Wrong 0; payload[1]: Wrong 1; payload[2]: Wrong 2; payload[3]: Wrong 3; payload[4]: Wrong 4; ' +
        'and 2 more',
    )
    expect(error.cause).toBe(issues)
  })

  test('a message is one line, and not too long', async () => {
    const issues = [{ message: ' a\n  b ' }, { message: 'x'.repeat(10_000) }, { message: '' }]
    expect(
      (
        await refusal(
          answering(() => ({ issues })),
          1,
        )
      ).message,
    ).toBe(`payload: a b; payload: ${'x'.repeat(200)}; payload: invalid`)
  })

  test('no issue at all is a refusal all the same', async () => {
    expect(
      (
        await refusal(
          answering(() => ({ issues: [] })),
          1,
        )
      ).message,
    ).toBe('payload: refused by its schema')
  })

  test('a schema that throws, or rejects, is a refusal with its error as cause', async () => {
    const thrown = new TypeError('boom')
    for (const answer of [() => throwing(thrown), () => Promise.reject(thrown)]) {
      const error = await refusal(answering(answer), 1)
      expect(error.message).toBe('payload could not be checked by its schema: TypeError: boom')
      expect(error.cause).toBe(thrown)
    }
  })

  test.each<[string, () => unknown, string]>([
    ['nothing', () => undefined, 'TypeError: validate() must return an object; got undefined'],
    ['true', () => true, 'TypeError: validate() must return an object; got true'],
    ['neither', () => ({}), 'TypeError: validate() must return a value or issues; got neither'],
    ['text as issues', () => ({ issues: 'bad' }), 'TypeError: issues must be an array; got string'],
  ])('a schema that answers %s is told', async (_, answer, message) => {
    const error = await refusal(answering(answer), 1)
    expect(error.message).toBe(`payload could not be checked by its schema: ${message}`)
  })

  test.each<[string, () => unknown, RegExp]>([
    ['a proxy that throws', () => new Proxy({}, allTraps), /hands off/],
    ['a revoked proxy', revoked, /revoked/],
    ['issues in a revoked proxy', () => ({ issues: revoked() }), /revoked/],
    ['issues that throw', () => ({ issues: new Proxy([], { get: fail }) }), /^payload: refused by its schema$/],
    ['a revoked issue', () => ({ issues: [revoked()] }), /^payload: invalid$/],
    ['issues that are no objects', () => ({ issues: [null, 'x'] }), /^payload: invalid; payload: invalid$/],
    [
      'a message and path that throw',
      () => ({ issues: [Object.defineProperties({}, { message: { get: fail }, path: { get: fail } })] }),
      /^payload: invalid$/,
    ],
    ['a path in a revoked proxy', () => ({ issues: [{ message: 'Wrong', path: revoked() }] }), /^payload: Wrong$/],
    [
      'a segment that throws',
      () => ({ issues: [{ message: 'Wrong', path: ['a', new Proxy({}, allTraps)] }] }),
      /^payload\.a\[undefined]: Wrong$/,
    ],
    [
      'issues and paths without end',
      () => {
        const path = new Proxy([], { get: () => 0 })
        const issue = { message: 'Wrong', path }
        return { issues: new Proxy([], { get: (_, key) => (key === 'length' ? 2 ** 53 : issue) }) }
      },
      /^payload\[0](\[0])+…: Wrong; .*; and 9007199254740987 more$/,
    ],
  ])('a schema that answers %s', async (_, answer, message) => {
    expect((await refusal(answering(answer), 1)).message).toMatch(message)
  })

  test.each<[string, () => unknown]>([
    ['a promise', () => new Promise(() => {})],
    ['a value that is a promise', () => ({ value: new Promise(() => {}) })],
    ['what only looks like a promise', () => new Proxy({}, { get: () => () => {} })],
  ])('a schema that answers with %s that never ends is given up', async (_, answer) => {
    const error = await refusal(answering(answer), 1, 1)
    expect(error.message).toBe(
      'payload could not be checked by its schema: DeadlineError: validate: no answer within 1 ms',
    )
  })

  function throwing(thrown: unknown): never {
    throw thrown
  }
})

describe('schemasOption', () => {
  test('takes schemas by queue and by kind, none as well', () => {
    expect(schemasOption({})).toEqual({})
    expect(() => schemasOption({ media: {} })).toThrow('at least one kind')
    expect(schemasOption({ media: { thumb: zodSchema, probe: arktypeSchema } }).media).toEqual({
      thumb: zodSchema,
      probe: arktypeSchema,
    })
  })

  test('keeps a copy', () => {
    const given: Record<string, unknown> = { emails: zodSchema, media: { thumb: zodSchema } }
    const schemas = schemasOption(given)
    delete given.emails
    Object.assign(given.media as object, { thumb: null })
    expect(schemas).toEqual({ emails: zodSchema, media: { thumb: zodSchema } })
    expect(Object.isFrozen(schemas) && Object.isFrozen(schemas.media)).toBe(true)
  })

  test.each<[unknown, string]>([
    [undefined, 'schemas must be an object of schemas by queue; got undefined'],
    [null, 'schemas must be an object of schemas by queue; got null'],
    [[zodSchema], 'schemas must be an object of schemas by queue; got array'],
    [new Map(), 'schemas must be an object of schemas by queue; got object'],
    [
      { emails: undefined },
      'schemas.emails must be a Standard Schema (an object with ~standard) or an object of them by kind; got undefined',
    ],
    [
      { emails: () => true },
      'schemas.emails must be a Standard Schema (an object with ~standard) or an object of them by kind; got function',
    ],
    [
      { 'e-mails': 'string' },
      'schemas["e-mails"] must be a Standard Schema (an object with ~standard) or an object of them by kind; got ' +
        'string',
    ],
    [{ media: { thumb: {} } }, 'schemas.media.thumb must be a Standard Schema (an object with ~standard); got object'],
    [{ emails: { '~standard': null } }, 'schemas.emails["~standard"] must be an object; got null'],
    [{ emails: { '~standard': { version: 2 } } }, 'schemas.emails["~standard"].version must be 1; got 2'],
    [
      { media: { thumb: { '~standard': { version: 1, validate: true } } } },
      'schemas.media.thumb["~standard"].validate must be a function; got boolean',
    ],
    [
      { '': zodSchema },
      'a queue in schemas must be a string of 1 to 128 characters without NUL or lone surrogates; got ""',
    ],
    [
      { media: { '': zodSchema } },
      'a kind in schemas must be a string of 1 to 128 characters without NUL or lone surrogates; got ""',
    ],
  ])('refuses %s', (value, message) => {
    expect(refused(() => schemasOption(value))).toBe(message)
  })

  test.each<[string, () => unknown, RegExp]>([
    ['a proxy that throws', () => new Proxy({}, allTraps), /^schemas cannot be read: Error: hands off$/],
    ['a revoked proxy', revoked, /^schemas cannot be read: /],
    ['a getter that throws', () => Object.defineProperty({}, 'a', { get: fail, enumerable: true }), /^schemas cannot/],
    ['a schema that throws', () => ({ emails: new Proxy({}, allTraps) }), /^schemas\.emails cannot be read: /],
    ['a schema that is revoked', () => ({ media: { thumb: revoked() } }), /^schemas\.media\.thumb cannot be read: /],
  ])('refuses %s', (_, make, message) => {
    expect(refused(() => schemasOption(make()))).toMatch(message)
  })
})

describe('schemaFor', () => {
  const schemas = schemasOption({ emails: zodSchema, media: { thumb: valibotSchema } })

  test('a schema of a queue is for all its kinds', () => {
    expect(schemaFor(schemas, 'emails', null)).toBe(zodSchema)
    expect(schemaFor(schemas, 'emails', 'any')).toBe(zodSchema)
  })

  test('a schema of a kind is for that kind', () => {
    expect(schemaFor(schemas, 'media', 'thumb')).toBe(valibotSchema)
    expect(schemaFor(schemas, 'media', 'probe')).toBeUndefined()
    expect(schemaFor(schemas, 'media', null)).toBeUndefined()
  })

  test('a function is a schema too', () => {
    expect(schemaFor(schemasOption({ emails: arktypeSchema }), 'emails', 'any')).toBe(arktypeSchema)
  })

  test('names that every object has are no queues, unless given', () => {
    for (const queue of ['constructor', '__proto__', 'toString', 'other']) {
      expect(schemaFor(schemas, queue, null)).toBeUndefined()
      expect(schemaFor({}, queue, 'name')).toBeUndefined()
      expect(schemaFor({ media: { thumb: valibotSchema } }, 'media', queue)).toBeUndefined()
      expect(schemaFor(schemas, 'media', queue)).toBeUndefined()
    }
    const odd = schemasOption(Object.fromEntries([['__proto__', zodSchema]]))
    expect(schemaFor(odd, '__proto__', null)).toBe(zodSchema)
  })
})
