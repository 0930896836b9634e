import { expect } from 'vitest'
import { withStatements } from './changed-statements.js'

/** Bugle, loaded anew: it takes each server that it meets for one that has run for an hour without a crash. */
export function trustingModule(): Promise<typeof import('../../src/index.js')> {
  return withStatements((statements) => {
    const presence_take = statements.presence_take.replace(/case\s[^;]* end as up_ms/, '3600000 as up_ms')
    expect(presence_take).not.toBe(statements.presence_take)
    return { ...statements, presence_take }
  })
}
