import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { breaks, type Change, soon } from '../faults/snapshot.mjs'

/** What is changed in the build stands in the source as well: between the two only types are gone, and line breaks. */
function sourceOf(file: string): string {
  const path = file.replace(/^dist\//, 'src/').replace(/\.js$/, '.ts')
  return readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8').replaceAll(/;?\n\s*/g, ' ')
}

test.for(Object.entries<readonly Change[]>({ ...breaks, soon }))(
  'what the fault run changes for %s is there',
  ([, changes]) => {
    for (const { file, find } of changes)
      expect(sourceOf(file)).toContain(find.replaceAll(/;?\n\s*/g, ' ').replace(/;$/, ''))
  },
)
