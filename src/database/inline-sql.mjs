/**
 * The last step of the build: puts the texts of `sql/` into `dist/database/sql-texts.js`. The compiler has made that of
 * src/database/sql-texts.ts, which reads them from the disk: a bundle would not find them there.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'

const source = new URL('../../sql/', import.meta.url)
const target = new URL('../../dist/database/sql-texts.js', import.meta.url)

const texts = readdirSync(source, { recursive: true, encoding: 'utf8' })
  .map((path) => path.replaceAll('\\', '/'))
  .filter((path) => /\.(sql|json)$/.test(path))
  .sort()
  .map((path) => `  ${JSON.stringify(path)}: ${JSON.stringify(readFileSync(new URL(path, source), 'utf8'))},`)

writeFileSync(
  target,
  `// Written by the build (src/database/inline-sql.mjs): the files of sql/.
const texts = {
${texts.join('\n')}
}

export function sqlText(path) {
  const text = texts[path]
  if (text === undefined) throw new Error(\`there is no sql/\${path}\`)
  return text
}

export function sqlPaths() {
  return Object.keys(texts)
}
`,
)
