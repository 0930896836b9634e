import { expect, test } from 'vitest'
import { createTableLook } from '../../../../src/consume/express/table-look.js'

test('the table is looked at when it is asked for, and again ten minutes later or when it was forgotten', async () => {
  let at = 0
  let looks = 0
  let faults: object[] = []
  const query = async () => {
    looks += 1
    return faults as never
  }
  const look = createTableLook(query, () => at)
  expect(await look.isFit()).toBe(true)
  faults = [{ name: 'audit', why: 'is a trigger' }]
  at = 599_999
  expect(await look.isFit()).toBe(true)
  at = 600_000
  expect(await look.isFit()).toBe(false)
  expect(look.faults).toEqual(faults)
  faults = []
  expect(await look.isFit()).toBe(false)
  look.forget()
  expect(await look.isFit()).toBe(true)
  expect(looks).toBe(3)
})

test('a look that failed is made again', async () => {
  let isDown = true
  const look = createTableLook(
    async () => {
      if (isDown) throw new Error('away')
      return []
    },
    () => 0,
  )
  await expect(look.isFit()).rejects.toThrow('away')
  isDown = false
  expect(await look.isFit()).toBe(true)
})
