import { chmod, chown, mkdir, readdir, readlink } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { ensureLinks } from '../../src/embedded/links.js'
import {
  copyCheckout,
  firstLine,
  inTemporaryDirectory,
  isRoot,
  linksIn,
  makeDirectory,
  nativeFolder,
  nobody,
  ownerOf,
  removeDirectory,
  removeLinks,
  run,
  type Started,
  select,
  skip,
  supervisorOf,
  tmp,
} from '../support/embedded-server.js'

inTemporaryDirectory()

describe('a checkout', () => {
  let directory = ''
  let copy = ''
  let links: string[] = []

  beforeAll(async () => {
    directory = await makeDirectory()
    copy = await copyCheckout(directory)
    await ensureLinks(join(copy, nativeFolder))
    links = linksIn(copy)
  })

  afterAll(() => removeDirectory(directory))

  // Undo what a test has changed in the copy.
  afterEach(async () => {
    await chmod(directory, 0o755)
    await ensureLinks(join(copy, nativeFolder))
  })

  test('without library links gets them at the start', async () => {
    expect(links.length).toBeGreaterThan(0)
    await removeLinks(copy)
    const db = await firstLine<Started>(run('exit', {}, {}, copy))
    await supervisorOf(db)
    expect(db.pid).toBeGreaterThan(0)
    expect(linksIn(copy)).toEqual(links)
    for (const link of links) expect(await readlink(join(copy, nativeFolder, 'lib', link))).not.toContain('/')
  })

  test('gets its links from any number of starts at once', async () => {
    await removeLinks(copy)
    await Promise.all(Array.from({ length: 10 }, () => ensureLinks(join(copy, nativeFolder))))
    expect(linksIn(copy)).toEqual(links)
  })

  test('that the server may not be reached in is copied, as root', async (context) => {
    if (!isRoot) return skip(context, 'only root has the server run by another user')
    await chmod(directory, 0o700)
    const parent = run('wait', {}, {}, copy)
    const db = await firstLine<Started>(parent)
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(dirname(dirname(dirname(db.binDir)))).toBe(tmp)
    const gone = supervisorOf(db)
    parent.kill('SIGKILL')
    await gone
    expect(await readdir(tmp)).toEqual([basename(dirname(dirname(db.binDir)))])
  })

  test('works for an ordinary user, too', async (context) => {
    if (!isRoot) return skip(context, 'this run is by an ordinary user, all of it')
    const home = join(tmp, 'home')
    await mkdir(home)
    await chown(home, nobody, nobody)
    const as = { uid: nobody, gid: nobody, env: { ...process.env, HOME: home, TMPDIR: home } }
    const parent = run('wait', as, {}, copy)
    const db = await firstLine<Started>(parent)
    expect(await select(db, 'select 1 as answer')).toEqual([{ answer: 1 }])
    expect(ownerOf(db.dataDir)).toEqual([nobody, nobody])
    const gone = supervisorOf(db)
    parent.kill('SIGKILL')
    await gone
    expect(await readdir(home)).toEqual([])

    // The error says what to do when this user may not make the links.
    await removeLinks(copy)
    expect(await firstLine(run('exit', as, {}, copy))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/is missing and cannot be made \(EACCES\).*"npm rebuild"/),
    })
  })

  test('without a server for this platform says so', async () => {
    const bare = await copyCheckout(tmp, 'bare')
    expect(await firstLine(run('exit', {}, {}, bare))).toMatchObject({
      code: 'INVALID_OPTION',
      message: expect.stringMatching(/an optional dependency\): npm install --include=optional/),
    })
  })
})
