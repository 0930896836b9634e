import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { expect } from 'vitest'

export const root = fileURLToPath(new URL('../..', import.meta.url))
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8')

/** The code blocks of one language. */
export function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\\n(.*?)^\`\`\``, 'gms'))].map((match) => match[1] ?? '')
}

/** A section's text, below its heading. */
export function sectionOf(heading: string): string {
  const [, text] = readme.split(`\n## ${heading}\n`)
  expect(text, `README has the section ${heading}`).toBeDefined()
  return text?.split('\n## ')[0] ?? ''
}

/** The rows of the table that follows a line, each as its cells without backticks. */
export function tableAfter(line: string): string[][] {
  const from = readme.indexOf(`\n${line}\n`)
  expect(from, `README has the line ${line}`).toBeGreaterThan(-1)
  const rows: string[][] = []
  for (const text of readme.slice(from + line.length + 2).split('\n')) {
    if (text.startsWith('|'))
      rows.push(
        text
          .split('|')
          .slice(1, -1)
          .map((cell) => cell.trim().replaceAll('`', '')),
      )
    else if (rows.length > 0) break
  }
  return rows.slice(2)
}
