import { existsSync, readdirSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'
import {
  allDocuments,
  anchorsOf,
  type Document,
  linksOf,
  openDocument,
  root,
  userDocuments,
} from '../support/documents.js'

const documents = allDocuments()

/** @returns what is wrong with a link; null: nothing */
function deadLink({ path }: Document, link: string): string | null {
  if (/^https:\/\/[a-z]/.test(link)) return null
  const [file = '', anchor] = link.split('#')
  const target = file === '' ? path : normalize(join(dirname(path), file))
  if (target.startsWith('..') || !existsSync(join(root, target))) return `${path}: ${link}: there is no ${target}`
  if (anchor === undefined) return null
  if (!target.endsWith('.md')) return `${path}: ${link}: only documents have headings`
  return anchorsOf(openDocument(target)).includes(anchor) ? null : `${path}: ${link}: ${target} has no such heading`
}

test('every link of every document leads to a file, and to a heading', () => {
  const links = documents.flatMap((document) => linksOf(document).map((link) => deadLink(document, link)))
  expect(links.length).toBeGreaterThan(100)
  expect(links.filter((dead) => dead !== null)).toEqual([])
})

test('a link to a file or heading that is missing is found', () => {
  const [guide] = documents.filter(({ path }) => path === 'src/guides/start.md')
  if (guide === undefined) throw new Error('there is no start.md')
  for (const link of ['nothing.md', 'testing.md#nothing', '#nothing', '../../../outside.md', 'http://example.org'])
    expect(deadLink(guide, link)).toContain(link)
  for (const link of ['testing.md', 'testing.md#the-tools', '#typescript', '../../README.md'])
    expect(deadLink(guide, link)).toBe(null)
})

test("README is no longer than 12 KB, and says with the guides' index where each guide is", () => {
  const readme = openDocument('README.md')
  expect(Buffer.byteLength(readme.text)).toBeLessThanOrEqual(12 * 1024)
  const guides = documents.filter(({ path }) => path.startsWith('src/guides/')).map(({ path }) => path)
  const index = openDocument('src/guides/README.md')
  const linked = linksOf(index).map((link) => `src/guides/${link.split('#')[0]}`)
  expect([...new Set([...linked, index.path])].sort()).toEqual(guides)
  expect(linksOf(readme)).toContain(index.path)
})

test('no document for users leads to one that is not published', () => {
  const published = new Set(userDocuments().map(({ path }) => path))
  const astray = userDocuments().flatMap((document) =>
    linksOf(document)
      .map((link) => link.split('#')[0] ?? '')
      .filter((file) => file.endsWith('.md') && !file.startsWith('https:'))
      .filter((file) => !published.has(normalize(join(dirname(document.path), file))))
      .map((file) => `${document.path}: ${file}`),
  )
  expect(astray).toEqual([])
})

test('no line of a document is longer than 120 columns, but for rows of tables', () => {
  const long = documents.flatMap(({ path, text }) =>
    text.split('\n').flatMap((line, at) => (line.length > 120 && !line.startsWith('|') ? [`${path}:${at + 1}`] : [])),
  )
  expect(long).toEqual([])
})

test('every folder of the source has a README, which the one above names', () => {
  const signs = new Set(documents.map(({ path }) => path))
  const map = openDocument('src/README.md')
  for (const link of linksOf(map)) expect(signs).toContain(normalize(join('src', link.split('#')[0] ?? '')))
  for (const folder of ['src', 'sql', 'test', 'bench']) expect(signs).toContain(`${folder}/README.md`)
  const rooms = readdirSync(`${root}src`, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  const named = linksOf(map).map((link) => normalize(join('src', link)))
  expect(named).toEqual(expect.arrayContaining(rooms.map(({ name }) => `src/${name}/README.md`)))
})
