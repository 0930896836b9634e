import { execFile } from 'node:child_process'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { dirname, join, normalize, relative } from 'node:path'
import { promisify } from 'node:util'
import { publint } from 'publint'
import { formatMessage } from 'publint/utils'
import { expect, test } from 'vitest'
import { newestMigration } from '../../src/database/statements.js'
import { version } from '../../src/version.js'
import { linksOf, userDocuments } from '../support/documents.js'
import { pack, root } from '../support/install.js'

const manifest = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  version: string
  dependencies: Record<string, string>
  devDependencies: Record<string, string>
  peerDependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

const listed = pack('--dry-run')

async function packedFiles(): Promise<string[]> {
  return (await listed).files.map(({ path }) => path)
}

test('the version in src/version.ts is that of package.json', () => {
  expect(version).toBe(manifest.version)
})

test('every dependency is pinned exactly', () => {
  for (const [name, wanted] of Object.entries({
    ...manifest.dependencies,
    ...manifest.devDependencies,
    ...manifest.optionalDependencies,
  })) {
    expect(wanted, name).toMatch(/^(npm:[@\w/-]+@)?\d+\.\d+\.\d+(-[\w.]+)?$/)
  }
})

/** Files below a folder of this checkout. */
function filesIn(folder: string): string[] {
  const entries = readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(root, join(entry.parentPath, entry.name)).replaceAll('\\', '/'))
}

test('published are what each source compiles to, all SQL, the documents for users, and nothing else', async () => {
  const sources = filesIn('src')
    // A step of the build, and documents.
    .filter((file) => file !== 'src/database/inline-sql.mjs' && !file.endsWith('.md'))
    .map((file) => /^src\/(.*)\.ts$/.exec(file)?.[1] ?? `src has ${file}, which is no source`)
  const compiled = sources.flatMap((name) => [`dist/${name}.js`, `dist/${name}.d.ts`])
  const documents = userDocuments().flatMap((document) => {
    const charts = linksOf(document).filter((link) => link.endsWith('.svg'))
    return [document.path, ...charts.map((chart) => normalize(join(dirname(document.path), chart)))]
  })
  const sql = filesIn('sql').filter((file) => file !== 'sql/README.md')
  const wanted = new Set([...compiled, ...sql, ...documents, 'LICENSE', 'package.json'])
  // A file of dist whose source has gone: remove dist, and build.
  expect((await packedFiles()).toSorted()).toEqual([...wanted].toSorted())
  expect(sql.filter((file) => !file.endsWith('.sql'))).toEqual(['sql/schema.json'])
  expect(filesIn('sql/migrations')).toHaveLength(newestMigration)
})

test('every import between published files finds its file', async () => {
  const files = new Set(await packedFiles())
  for (const file of files) {
    if (!/\.(js|d\.ts)$/.test(file)) continue
    const text = readFileSync(join(root, file), 'utf8')
    for (const [, target = ''] of text.matchAll(/(?:from|import|import\()\s*'(\.[^']*)'/g)) {
      expect(files, `${file} imports ${target}`).toContain(normalize(join(dirname(file), target)))
    }
  }
})

test('only declared dependencies are imported by published files', async () => {
  const declared = new Set(Object.keys({ ...manifest.dependencies, ...manifest.peerDependencies }))
  for (const file of await packedFiles()) {
    if (!file.endsWith('.js')) continue
    const text = readFileSync(join(root, file), 'utf8')
    const imports = /^(?:import (?:[^'"]*? from )?|export (?:\*|\{[^}]*\}) from )'([^.'][^']*)'/gm
    for (const [, target = ''] of text.matchAll(imports)) {
      if (target.startsWith('node:')) continue
      const name = /^(@[^/]+\/)?[^/]+/.exec(target)?.[0] ?? target
      expect(declared, `${file} imports ${target}`).toContain(name)
    }
  }
})

test('an application that imports the library loads no library of the command', () => {
  const seen = new Set(['index', 'embedded/index', 'testing/index'].map((name) => join(root, 'dist', `${name}.js`)))
  const packages = new Set<string>()
  // What is added while it goes on is visited as well.
  for (const file of seen) {
    const imports = /(?:^(?:import|export)\b[^'"=(]*?|\bimport\()'([^']+)'/gm
    for (const [, target = ''] of readFileSync(file, 'utf8').matchAll(imports)) {
      if (target.startsWith('.')) seen.add(join(dirname(file), target))
      else if (!target.startsWith('node:')) packages.add(target)
    }
  }
  expect([...packages].toSorted()).toEqual(['debug', 'p-queue', 'pg', 'pg-listen', 'postgres'])
})

test('no path of this machine is published', async () => {
  const local = [root.replace(/\/$/, ''), homedir()].filter((path) => path.length > 1)
  for (const file of await packedFiles()) {
    const text = readFileSync(join(root, file), 'utf8')
    for (const path of local) expect(text.includes(`${path}/`), `${file} contains ${path}`).toBe(false)
  }
})

test('publint finds nothing', { timeout: 60_000 }, async () => {
  const { messages, pkg } = await publint({ pkgDir: root, strict: true, pack: 'npm' })
  expect(messages.map((message) => formatMessage(message, pkg, { color: false }))).toEqual([])
})

test.runIf(process.env.BUGLE_TEST_SLOW)(
  'attw finds that the types resolve (esm-only)',
  { timeout: 60_000 },
  async () => {
    const directory = mkdtempSync(join(tmpdir(), 'bugle-pack-'))
    try {
      const { filename } = await pack('--pack-destination', directory)
      const attw = join(root, 'node_modules/.bin/attw')
      const arguments_ = [join(directory, filename), '--profile', 'esm-only', '--format', 'json']
      const { stdout } = await promisify(execFile)(attw, arguments_, { cwd: root, maxBuffer: 2 ** 26 })
      interface Answer {
        readonly analysis: { readonly types: unknown; readonly entrypoints: object }
        readonly problems: object
      }
      const { analysis, problems } = JSON.parse(stdout) as Answer
      expect(analysis.types).toMatchObject({ kind: 'included' })
      expect(Object.keys(analysis.entrypoints)).toEqual(['.', './embedded', './testing', './package.json'])
      // The profile rules what attw exits with, not what it lists.
      const found = Object.values(problems).flat() as { kind: string; resolutionKind?: string }[]
      // It is the one thing that `module: node16` says of any ES module; `nodenext` takes it, as Node does.
      const others = found.filter(
        ({ kind, resolutionKind }) => kind !== 'CJSResolvesToESM' || resolutionKind !== 'node16-cjs',
      )
      expect(others).toEqual([])
    } finally {
      rmSync(directory, { recursive: true })
    }
  },
)
