import { expect, onTestFinished } from 'vitest'
import { checks } from '../../src/doctor/index.js'
import { openPatient } from '../../src/doctor/patient.js'
import { resolveBugleOptions } from '../../src/options.js'
import { test } from '../support/clinic.js'
import { until } from '../support/until.js'

test('a migrated database with a consumer: every check is ok, in order', async ({ clinic }) => {
  const consumer = await clinic.bugle.consume('emails', () => {})
  await clinic.bugle.put('emails', {})
  await consumer.idle()
  const findings = await clinic.examine()
  expect(findings.filter(({ status }) => status !== 'ok')).toEqual([])
  expect(findings.map(({ check }) => check)).toEqual(checks.map(({ name }) => name))
})

test('bugle doctor: a line a finding, exit code 0; with --json an object a line and nothing else', async ({
  clinic,
}) => {
  await clinic.bugle.consume('emails', () => {})
  const { code, stdout, stderr } = await clinic.doctor()
  expect(stderr).toBe('')
  const lines = stdout.trimEnd().split('\n')
  expect(lines.slice(0, -1).map((line) => line.slice(0, 9))).toEqual(checks.map(() => 'ok       '))
  expect(lines.at(-1)).toBe('no trouble found')
  expect(code).toBe(0)

  const asJson = await clinic.doctor(['--json'])
  const objects = asJson.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line))
  expect(objects.map(({ check, status, remedy }) => ({ check, status, remedy }))).toEqual(
    checks.map(({ name }) => ({ check: name, status: 'ok', remedy: null })),
  )
  expect(asJson).toMatchObject({ code: 0, stderr: '' })
})

test('it leaves nothing behind: no session, no lock, no row, no channel', async ({ clinic }) => {
  const count = async () => {
    const [row] = await clinic.sql.unsafe<Record<string, number>[]>(`
      select
        (select count(*)::int from ${clinic.s}.worker) + (select count(*)::int from ${clinic.s}.queue) as rows,
        (select count(*)::int from pg_locks where locktype = 'advisory') as locks`)
    return row
  }
  const before = await count()
  await clinic.examine()
  expect(await count()).toEqual(before)
  // A session's end is noticed by the server a moment after ours.
  const left = () => clinic.sql`select from pg_stat_activity where application_name like 'bugle doctor%'`
  await until(async () => (await left()).length === 0)
})

test('wrong usage is one line, and exit code 2', async ({ clinic }) => {
  for (const args of [['--running-longer-than', 'soon'], ['--listen-url', 'nonsense'], ['--unknown'], ['more']]) {
    const { code, stdout, stderr } = await clinic.doctor(args)
    expect({ code, stdout, lines: stderr.trimEnd().split('\n').length }, stderr).toEqual({
      code: 2,
      stdout: '',
      lines: 1,
    })
  }
})

test('what a check asks runs read-only, and cannot wait for locks', async ({ clinic }) => {
  const { connectionString, schema } = clinic
  const resolved = resolveBugleOptions({ connectionString, schema }, {})
  const patient = openPatient({ ...resolved, now: Date.now })
  onTestFinished(patient.end)
  await patient.connect()
  await expect(patient.askLibrary(`delete from ${clinic.s}.job`)).rejects.toMatchObject({ code: '25006' })
  const other = clinic.connect()
  await other.unsafe('begin')
  await other.unsafe(`lock table ${clinic.s}.job in access exclusive mode`)
  await expect(patient.askLibrary(`select from ${clinic.s}.job`)).rejects.toMatchObject({ code: '55P03' })
  // And it is told as a look that could not be had.
  expect(await clinic.findings('long-running')).toMatchObject([{ status: 'skipped', details: { code: '55P03' } }])
})
