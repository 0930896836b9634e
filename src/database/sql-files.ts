import { sqlPaths, sqlText } from './sql-texts.js'

/**
 * The files of `sql/` by their names, and how names are filled into their text.
 */

/** What is in one of the folders: names without `.sql`, in order. */
export function sqlNames(folder: string): string[] {
  return sqlPaths()
    .filter((path) => path.startsWith(`${folder}/`) && path.endsWith('.sql'))
    .map((path) => path.slice(folder.length + 1, -4))
    .filter((name) => !name.includes('/'))
    .sort()
}

/** @param name - with its folder, and without `.sql`: `statements/claim` */
export function readSql(name: string): string {
  return sqlText(`${name}.sql`)
}

// A comment may hold a token, and a schema's name a line end.
export function withoutComments(text: string): string {
  return text
    .split('\n')
    .filter((line) => !/^\s*--/.test(line))
    .join('\n')
    .trim()
}

/**
 * The statements of a file that has several, without comments and semicolons. It is taken apart before names are filled
 * in, which may hold anything.
 */
export function statementsIn(text: string): string[] {
  return withoutComments(text)
    .split(/;(?:\n|$)/)
    .filter((statement) => statement !== '')
}

/** The tokens of psql: `:"schema"` as an identifier, `:'schema'` as a literal. One that is not given stays. */
export function fillIn(text: string, tokens: Readonly<Record<string, string>>): string {
  // In one pass: a name itself may look like a token.
  return text.replaceAll(/:(["'])(\w+)\1/g, (token, quote: string, name: string) => {
    const value = tokens[name]
    if (value === undefined) return token
    return quote === '"' ? quoteIdentifier(value) : quoteLiteral(value)
  })
}

export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`
}

function quoteLiteral(text: string): string {
  // E'' only where it is needed: a plain literal reads backslashes by standard_conforming_strings.
  const quoted = `'${text.replaceAll("'", "''").replaceAll('\\', '\\\\')}'`
  return text.includes('\\') ? ` E${quoted}` : quoted
}
