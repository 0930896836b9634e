import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { expect, test } from 'vitest'

const src = join(new URL('../..', import.meta.url).pathname, 'src')

/**
 * The house by its floors, the lowest first: a room (a folder of `src`, or a file at its root) imports from the floors
 * below its own, types included. What must speak upward takes a callback.
 */
const floors = [
  [
    'backoff',
    'duration',
    'errors',
    'jsonify',
    'node-version',
    'stop-report',
    'suggest',
    'terminal',
    'thinning',
    'version',
    'wakeup',
    'with-resolvers',
  ],
  ['checks', 'deadline', 'define-queues', 'demand-node', 'event-stream', 'reading'],
  ['codec', 'embedded', 'events', 'moment', 'outcome', 'payload', 'retry-after', 'schema'],
  ['database', 'logging'],
  ['listen', 'transactions'],
  ['job'],
  ['payloads', 'retry', 'worker'],
  ['put'],
  ['queues'],
  ['options', 'putter'],
  ['consume', 'signals'],
  ['admin', 'internals'],
  ['closing', 'results'],
  ['bugle'],
  ['create-bugle'],
  ['define-worker'],
  ['doctor', 'index', 'testing'],
  ['demo'],
  ['cli'],
]

const files = readdirSync(src, { recursive: true, encoding: 'utf8' })
  .map((file) => file.replaceAll('\\', '/'))
  .filter((file) => file.endsWith('.ts'))

test('every room of src is on one floor, and every floor has rooms that are there', () => {
  expect(floors.flat().toSorted()).toEqual([...new Set(files.map(roomOf))].toSorted())
})

test('imports of src point downwards, types included', () => {
  const imports = files.flatMap(importsOf)
  expect(imports.length).toBeGreaterThan(files.length)
  expect(imports.filter(({ from, to }) => !isBelow(to, from)).map(({ from, to }) => `${from} -> ${to}`)).toEqual([])
})

test('every way to write an import counts', () => {
  const text = `
import './a.js'
import type { B } from './b.js'
import { c } from '../c.js'
export type { D } from './d.js'
export * from './e.js'
const f = await import('./f.js')
type G = import('./g.js').G
`
  expect(targetsIn(text)).toEqual(['./a.js', './b.js', '../c.js', './d.js', './e.js', './f.js', './g.js'])
})

interface Import {
  /** Paths below src. */
  readonly from: string
  readonly to: string
}

function importsOf(from: string): Import[] {
  return targetsIn(readFileSync(join(src, from), 'utf8')).map((target) => ({
    from,
    to: normalize(join(dirname(from), target))
      .replaceAll('\\', '/')
      .replace(/\.js$/, '.ts'),
  }))
}

/** What a module imports of this package's own files. */
function targetsIn(text: string): string[] {
  return [...text.matchAll(/\b(?:from|import)\s*\(?\s*'(\.[^']*)'/g)].map(([, target = '']) => target)
}

/** In the same room, or on a lower floor. */
function isBelow(to: string, from: string): boolean {
  return roomOf(to) === roomOf(from) || floorOf(to) < floorOf(from)
}

function floorOf(file: string): number {
  return floors.findIndex((rooms) => rooms.includes(roomOf(file)))
}

function roomOf(file: string): string {
  return file.split('/')[0]?.replace(/\.ts$/, '') ?? ''
}
