import { runInNewContext } from 'node:vm'
import { describe, expect, test } from 'vitest'
import {
  databaseFault,
  isKeyConflict,
  isPermanentRefusal,
  NotSentError,
  sqlState,
  violatedIndex,
} from '../../../src/database/verdict.js'
import { BugleError } from '../../../src/errors.js'

const coded = (code: string, more: object = {}): Error => Object.assign(new Error('beneath'), { code, ...more })

describe('a statement that was not sent is down, whatever lay beneath', () => {
  test.each(['28P01', '42501', '55000', '57P03', '08P01', 'CONNECT_TIMEOUT', 'EHOSTUNREACH', 'CERT_HAS_EXPIRED', ''])(
    '%s',
    (code) => {
      const error = new NotSentError('put', coded(code))
      expect(databaseFault(error)).toBe('down')
      expect(error).toMatchObject({ message: 'put: not sent: beneath', cause: { code } })
      // The state is of a log-in, and says nothing of the statement.
      expect(sqlState(error)).toBeNull()
    },
  )
})

describe('a statement that was sent', () => {
  test.each([
    ...['EHOSTUNREACH', 'ENETUNREACH', 'ECONNREFUSED', 'ENOTFOUND', 'EPIPE', 'ENXIO', 'ECONNRESET', 'DEADLINE'],
    ...['CONNECTION_CLOSED', 'CONNECT_TIMEOUT', 'CERT_HAS_EXPIRED', 'ERR_SSL_WRONG_VERSION_NUMBER'],
    ...['08006', '57P01', '57P02', '57P05'],
  ])('is unknown with %s', (code) => expect(databaseFault(coded(code))).toBe('unknown'))

  test.each([
    ['57P03', 'down'],
    ['53300', 'down'],
    ['28P01', 'down'],
    ['25006', 'down'],
    ['40001', 'passing'],
    ['40P01', 'passing'],
    ['53100', 'passing'],
    ['54000', 'passing'],
    ['54001', 'passing'],
    ['55P03', 'passing'],
    ['57014', 'passing'],
    ['25P04', 'passing'],
    ['22P05', 'data'],
    ['23514', 'data'],
    ['23505', 'data'],
    ['42501', 'privilege'],
    ['42P01', 'not-migrated'],
    ['42883', 'not-migrated'],
    ['P0001', 'other'],
    ['XX001', 'other'],
  ])('with %s is %s', (code, fault) => expect(databaseFault(coded(code))).toBe(fault))

  test.each([undefined, null, 'thrown', new Error('no code'), new TypeError('a bug'), {}])('%s is other', (thrown) =>
    expect(databaseFault(thrown)).toBe('other'),
  )

  test.each(['Connection terminated', 'Connection terminated unexpectedly', 'Query read timeout'])(
    'is unknown where pg says “%s”, without a code',
    (sentence) => {
      for (const before of ['', 'insert into "job" ($1) - ', 'Invalid `prisma.$queryRawUnsafe()` invocation:\n\n\n']) {
        expect(databaseFault(new Error(`${before}${sentence}`)), before).toBe('unknown')
      }
    },
  )

  test.each([
    'timeout expired',
    'timeout exceeded when trying to connect',
    'Connection terminated due to connection timeout',
    'Client has encountered a connection error and is not queryable',
    'Client was closed and is not queryable',
  ])('was not sent where pg says “%s”', (sentence) => expect(databaseFault(new Error(sentence))).toBe('down'))

  test('others may say as much, and mean something else', () => {
    const others = ['their timeout expired', 'Connection terminated unexpectedly by them', 'Connection terminated.']
    for (const message of others) expect(databaseFault(new Error(message)), message).toBe('other')
    expect(databaseFault('Connection terminated')).toBe('other')
    expect(databaseFault(Object.assign(new Error('timeout expired'), { code: 'P0001' }))).toBe('other')
  })

  test('an error of ours is other', () => {
    expect(databaseFault(new BugleError('CLOSED', 'closed', { cause: coded('57P01') }))).toBe('other')
    expect(databaseFault(new BugleError('NO_PRIVILEGE', 'no', { cause: coded('42501') }))).toBe('other')
  })

  test('Node’s error of several addresses is judged by the first', () => {
    expect(sqlState(new AggregateError([coded('28P01')]))).toBe('28P01')
    expect(databaseFault(new AggregateError([coded('ECONNREFUSED')]))).toBe('unknown')
  })
})

describe('the index of a unique violation', () => {
  const violation = (more: object): Error => coded('23505', more)

  test.each<[string, object, string]>([
    ['postgres.js', { constraint_name: 'job_key' }, 'job_key'],
    ['pg', { constraint: 'job_pkey' }, 'job_pkey'],
    ['Prisma', { message: 'duplicate key value violates unique constraint "job_key"' }, 'job_key'],
    ['Prisma in German', { message: 'doppelter Schlüsselwert verletzt Unique-Constraint »job_pkey«' }, 'job_pkey'],
    ['Prisma', { message: 'duplicate key value violates unique constraint "their_job_keys"' }, ''],
  ])('as %s tells it: %o', (_driver, told, name) => expect(violatedIndex(violation(told))).toBe(name))

  test.each(['job_key', 'job_key_ccnew', 'job_key_ccnew1', 'job_key_ccold'])('%s is that of keys', (constraint) => {
    expect(isKeyConflict(violation({ constraint }))).toBe(true)
    expect(databaseFault(violation({ constraint }))).toBe('passing')
  })

  test.each(['job_pkey', 'job_key_of_theirs', 'orders_job_key', 'archive_pkey', ''])('%s is not', (constraint) => {
    expect(isKeyConflict(violation({ constraint }))).toBe(false)
    expect(databaseFault(violation({ constraint }))).toBe('data')
  })

  test('other errors have none', () => {
    expect(violatedIndex(coded('23514', { constraint: 'job_key' }))).toBeNull()
    expect(isKeyConflict(undefined)).toBe(false)
  })
})

describe('a first connection that is refused', () => {
  test.each([
    ...['28P01', '28000', '3D000', '42501', '55000', '08P01', '22023', '0A000'],
    ...['ENOTFOUND', 'CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'ERR_TLS_CERT_ALTNAME_INVALID'],
    'UNABLE_TO_VERIFY_LEAF_SIGNATURE',
  ])('is refused for good with %s', (code) => expect(isPermanentRefusal(coded(code))).toBe(true))

  test.each([
    ...['57P03', '53300', '57P01', '08006', '58030', 'XX000', '40001', '25006'],
    ...['ECONNREFUSED', 'EAI_AGAIN', 'ETIMEDOUT', 'EHOSTUNREACH', 'ENOENT', 'DEADLINE', ''],
  ])('may be accepted later with %s', (code) => expect(isPermanentRefusal(coded(code))).toBe(false))
})

describe('a pooler, which has one code for nearly everything,', () => {
  test.each([
    'server login has been failing, try again later (server_login_retry)',
    'cannot connect to server',
    'server conn crashed?',
    'query_wait_timeout',
    'the pooler is shutting down',
    'no more connections allowed (max_client_conn)',
  ])('may accept a connection later that it refuses by “%s”', (message) =>
    expect(isPermanentRefusal(Object.assign(new Error(message), { code: '08P01' }))).toBe(false),
  )

  test.each(['no such database: shop', 'unsupported startup parameter: options', 'SASL authentication failed'])(
    'refuses for good by “%s”',
    (message) => expect(isPermanentRefusal(Object.assign(new Error(message), { code: '08P01' }))).toBe(true),
  )
})

test('an aggregate of another realm means what its first error means', () => {
  const refused = runInNewContext(`new AggregateError([Object.assign(new Error('no'), { code: '57P03' })])`) as unknown
  expect(databaseFault(refused)).toBe('down')
  expect(isPermanentRefusal(refused)).toBe(false)
})
