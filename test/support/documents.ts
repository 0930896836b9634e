import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'

export const root = fileURLToPath(new URL('../..', import.meta.url))

/** One Markdown file of the repository, by its path in it. */
export interface Document {
  readonly path: string
  readonly text: string
  /** Its code blocks, in order. */
  readonly blocks: readonly Block[]
  /** The text without the code blocks. */
  readonly prose: string
}

export interface Block {
  /** What stands behind the fence. */
  readonly language: string
  readonly text: string
}

const fence = /^```(.*)\n([\s\S]*?)^```$/gm

export function openDocument(path: string): Document {
  const text = readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8')
  const blocks = [...text.matchAll(fence)].map(([, language = '', block = '']) => ({ language, text: block }))
  return { path, text, blocks, prose: text.replaceAll(fence, '') }
}

/** Every Markdown file of the repository. */
export function allDocuments(): Document[] {
  const folders = ['src', 'sql', 'test', 'bench'].flatMap((folder) => {
    // The peers that the bench measures are installed in a folder of its own.
    const names = readdirSync(`${root}${folder}`, { recursive: true, encoding: 'utf8' })
    return names.filter((name) => !name.startsWith('node_modules')).map((name) => `${folder}/${name}`)
  })
  const paths = [...readdirSync(root), ...folders].map((path) => path.replaceAll('\\', '/'))
  return paths
    .filter((path) => path.endsWith('.md') && existsSync(`${root}${path}`))
    .sort()
    .map(openDocument)
}

/** Those that are published: they are for users, and their programs run. */
export function userDocuments(): Document[] {
  return allDocuments().filter(({ path }) => /^([^/]+|src\/guides\/[^/]+|bench\/README)\.md$/.test(path))
}

/** The code blocks of one language, in one document or in all that are for users. */
export function blocks(language: string, path?: string): string[] {
  const documents = path === undefined ? userDocuments() : [openDocument(path)]
  return documents.flatMap((document) => document.blocks.filter((block) => block.language === language)).map(textOf)
}

function textOf({ text }: Block): string {
  return text
}

/** The rows of the first table after a line, each as its cells without backticks. */
export function tableAfter(path: string, line: string): string[][] {
  const { text } = openDocument(path)
  const from = `\n${text}`.indexOf(`\n${line}\n`)
  expect(from, `${path} has the line ${line}`).toBeGreaterThan(-1)
  const rows: string[][] = []
  for (const row of text.slice(from + line.length).split('\n')) {
    if (row.startsWith('|'))
      rows.push(
        row
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim().replaceAll('`', '')),
      )
    else if (rows.length > 0) break
  }
  return rows.slice(2)
}

/** What `#…` in a link may name: each heading as GitHub names it. */
export function anchorsOf({ prose }: Document): string[] {
  const seen = new Map<string, number>()
  return [...prose.matchAll(/^#+ (.*)$/gm)].map(([, heading = '']) => {
    const name = heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .replaceAll(/\s/g, '-')
    const count = seen.get(name) ?? 0
    seen.set(name, count + 1)
    return count === 0 ? name : `${name}-${count}`
  })
}

/** The targets of links and images. */
export function linksOf({ prose }: Document): string[] {
  const withoutCode = prose.replaceAll(/`[^`\n]*`/g, '')
  return [...withoutCode.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target)
}
