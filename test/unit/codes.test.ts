import { readdirSync, readFileSync, statSync } from 'node:fs'
import { expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)
const readme = readFileSync(new URL('test/README.md', root), 'utf8')

/** The files at and below a path of the repository, without test/README.md: the list does not count as a use. */
function filesOf(path: string): string[] {
  if (statSync(new URL(path, root)).isFile()) return path === 'test/README.md' ? [] : [path]
  return readdirSync(new URL(path, root)).flatMap((name) => filesOf(`${path}/${name}`))
}

/** Every first group that the pattern finds in the files, once and in order. */
function findIn(files: readonly string[], pattern: RegExp): string[] {
  const texts = files.map((file) => readFileSync(new URL(file, root), 'utf8'))
  return sorted(texts.flatMap((text) => matchesOf(text, pattern)))
}

function matchesOf(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map(([, found = '']) => found)
}

function sorted(names: readonly string[]): string[] {
  return [...new Set(names)].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }))
}

/**
 * The code of a title: a string begins with it, or with a subject and a colon before it (`interrupt: E3b …`). Some
 * titles are made from the names of a table, so every string counts and not only those after `test(`.
 */
const codeOfTitle = /['"`](?:[a-z]+: )?([A-H]\d+[a-c]?) [\w$]/g
const listedCode = /^\| ([A-H]\d+[a-c]?) \|/gm
const listedWithoutTest = /^\| ([A-H]\d+[a-c]?) \|.*\(no test yet\) \|$/gm
const variable = /\b(BUGLE_(?:TEST|FAULTS)_[A-Z0-9_]*[A-Z0-9])\b/g
const listedVariable = /^\| `(BUGLE_\w+)` \|/gm

const files = filesOf('test')
const codes = findIn(
  files.filter((file) => file.endsWith('.test.ts')),
  codeOfTitle,
)

test('test/README.md lists each code and each variable once', () => {
  for (const pattern of [listedCode, listedVariable]) {
    const listed = matchesOf(readme, pattern)
    expect(listed).toHaveLength(new Set(listed).size)
  }
})

test('test/README.md lists the codes that begin titles, and marks those that no title bears', () => {
  const marked = matchesOf(readme, listedWithoutTest)
  const unmarked = matchesOf(readme, listedCode).filter((code) => !marked.includes(code))
  expect(sorted(unmarked)).toEqual(codes)
})

test('test/README.md lists the variables that the tests, package.json and .ci read, and no others', () => {
  const read = findIn([...files, ...filesOf('.ci'), 'package.json'], variable)
  expect(sorted(matchesOf(readme, listedVariable))).toEqual(read)
})
