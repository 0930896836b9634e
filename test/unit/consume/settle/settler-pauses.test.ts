import { expect, test } from 'vitest'
import type { Ending } from '../../../../src/consume/settle/ending.js'
import { createPauses } from '../../../../src/consume/settle/pauses.js'
import { databaseError, durable, failed, settlement, settlerUnderTest, turns } from '../../../support/settler.js'

/** Each pause is hours long. */
const forHours = () => 1e5

/** Errors, and where outcomes that met one go: to a pause of the line, of a batch that is refused, or of one aside. */
const met = {
  'the database cannot be reached': databaseError('ECONNREFUSED'),
  'the server goes away': databaseError('57P01'),
  'the server refuses, even for no job': databaseError('P0001'),
  'somebody holds its lock': databaseError('55P03'),
}

for (const [what, error] of Object.entries(met)) {
  for (const ending of [{ is: 'acked' }, failed] satisfies Ending[]) {
    test(`${what}: an outcome (${ending.is}) goes again at once when somebody gets through`, async () => {
      const trouble = { isOn: true }
      let tries = 0
      const write = async () => {
        tries += 1
        if (trouble.isOn) throw error
        return []
      }
      const { settler } = settlerUnderTest(
        write,
        () => false,
        async () => void (await write()),
        forHours,
      )
      const settled = settler.settle(settlement('1', ending))
      await turns()
      const before = tries
      expect(before).toBeGreaterThan(0)
      // Still in vain; the next pause begins anew.
      settler.hurry()
      await turns()
      expect(tries).toBeGreaterThan(before)
      trouble.isOn = false
      settler.hurry()
      expect(await settled).toEqual(durable)
    })
  }
}

test('a pause that was cut short says so, and one that has ended is not cut', async () => {
  const pauses = createPauses(() => -0.5)
  expect(await pauses.after(1)).toBe(false)
  pauses.cutShort()
  const long = createPauses(forHours)
  const all = [long.after(1), long.after(5)]
  long.cutShort()
  expect(await Promise.all(all)).toEqual([true, true])
})
