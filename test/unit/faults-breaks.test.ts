import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { breaks } from '../faults/snapshot.mjs'

test.for(Object.entries(breaks))('the guards that the fault run takes out for %s stand in the SQL', ([, guards]) => {
  for (const { file, find } of guards) {
    const text = readFileSync(new URL(`../../sql/statements/${file}.sql`, import.meta.url), 'utf8')
    expect(text).toContain(find)
  }
})
