import { expect, test } from 'vitest'
import { readSql } from '../../../src/database/sql-files.js'

/** What a text reads out of the JSON of jobs to put. @returns each column with its type, in their order */
function givenColumns(text: string): string[] {
  const list = /json_to_recordset\((?:\$2::text::json|put_keyed\.jobs)\) as (?:jobs )?\(([^)]*)\)/.exec(text)?.[1]
  return (list ?? '').split(',').map((column) => column.trim())
}

test('put_options and the function put_keyed read the same columns, but for those of keys', () => {
  const keyed = givenColumns(readSql('migrations/0001_jobs'))
  const withoutKeys = keyed.filter((column) => !column.startsWith('key'))
  expect(keyed.length - withoutKeys.length).toBe(3)
  expect(givenColumns(readSql('statements/put_options'))).toEqual(withoutKeys)
})
