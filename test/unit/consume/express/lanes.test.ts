import { expect, test } from 'vitest'
import type { LaneEnd } from '../../../../src/consume/express/lane.js'
import { createLanes } from '../../../../src/consume/express/lanes.js'
import type { TableLook } from '../../../../src/consume/express/table-look.js'
import { createLaneTimes } from '../../../../src/consume/express/when.js'
import { turns } from '../../../support/settler.js'
import { signal } from '../../../support/signal.js'

const full = { asked: 100, found: 100, fit: 100, ahead: 200 }

function lanesUnderTest({ isFit = async () => true }: { readonly isFit?: TableLook['isFit'] } = {}) {
  let at = 0
  let isAllowed = true
  const made: { end: (end: LaneEnd) => void; closed: boolean; works: () => void }[] = []
  const told: string[] = []
  const lanes = createLanes({
    together: 2,
    createLane: (onWorks) => {
      const over = signal<LaneEnd>()
      const one = { end: over.resolve, closed: false, works: onWorks }
      made.push(one)
      return {
        run: () => over.promise,
        async close() {
          one.closed = true
        },
      }
    },
    times: createLaneTimes(() => at),
    table: { isFit, faults: [], forget: () => void told.push('forget') },
    isAllowed: () => isAllowed,
    onLost: () => void told.push('lost'),
  })
  return {
    lanes,
    made,
    told,
    pass(ms: number) {
      at += ms
    },
    forbid() {
      isAllowed = false
    },
  }
}

test('two lanes at a time: the next ones when both are over, and the claim calls for them', async () => {
  const { lanes, made, pass } = lanesUnderTest()
  lanes.answered({ ...full, found: 50 })
  await turns()
  expect([made.length, lanes.isOpen]).toEqual([0, false])
  lanes.answered(full)
  lanes.answered(full)
  await turns()
  lanes.answered(full)
  expect([made.length, lanes.isOpen]).toEqual([1, true])
  // Each batch says it.
  for (const at of [0, 0, 1, 1, 0]) made[at]?.works()
  expect([made.length, lanes.isOpen]).toEqual([2, true])
  expect(made.map(({ closed }) => closed)).toEqual([false, false])
  // What has ended the one is of both.
  made[0]?.end({ is: 'closed' })
  await turns()
  expect([made[1]?.closed, lanes.isOpen]).toEqual([true, true])
  pass(1_000)
  lanes.answered(full)
  await turns()
  expect(made.length).toBe(2)
  made[1]?.end({ is: 'closed' })
  await turns()
  lanes.answered(full)
  expect([made.length, lanes.isOpen]).toEqual([2, false])
  pass(1_000)
  lanes.answered(full)
  await turns()
  expect([made.length, lanes.isOpen]).toEqual([3, true])
  // One that works when all are to end is followed by none.
  void lanes.close()
  made[2]?.works()
  expect(made.length).toBe(3)
})

test('a lane that could not be opened leaves the other alone; the graver end of the two counts', async () => {
  const error = new Error('no')
  const { lanes, made, told, pass } = lanesUnderTest()
  lanes.answered(full)
  await turns()
  made[0]?.works()
  made[1]?.end({ is: 'refused', error })
  await turns()
  expect([made[0]?.closed, lanes.isOpen]).toEqual([false, true])
  made[0]?.end({ is: 'closed' })
  await turns()
  pass(1_000)
  lanes.answered(full)
  await turns()
  made[2]?.works()
  made[2]?.end({ is: 'closed' })
  made[3]?.end({ is: 'lost', error })
  await turns()
  expect(told).toEqual(['lost'])
  pass(59_999)
  lanes.answered(full)
  expect(lanes.isOpen).toBe(false)
})

test('a lane that is being closed is over when all is written, and none opens meanwhile', async () => {
  const { lanes, made } = lanesUnderTest()
  lanes.answered(full)
  await turns()
  made[0]?.works()
  let isClosed = false
  void lanes.close().then(() => {
    isClosed = true
  })
  lanes.answered(full)
  await turns()
  expect([made[0]?.closed, lanes.isOpen, isClosed, made.length]).toEqual([true, false, false, 2])
  made[0]?.end({ is: 'closed' })
  await turns()
  expect(isClosed).toBe(false)
  made[1]?.end({ is: 'closed' })
  await turns()
  expect(isClosed).toBe(true)
  // It was asked for, and may open again at once; not after the end.
  lanes.answered(full)
  await turns()
  expect(made.length).toBe(3)
  made[2]?.works()
  const ended = lanes.end()
  made[2]?.end({ is: 'closed' })
  made[3]?.end({ is: 'closed' })
  await ended
  lanes.answered(full)
  await turns()
  expect([made.length, lanes.isOpen]).toEqual([4, false])
})

test('a close while the table is looked at: no lane is opened', async () => {
  const look = signal<boolean>()
  const { lanes, made } = lanesUnderTest({ isFit: () => look.promise })
  lanes.answered(full)
  expect(lanes.isOpen).toBe(true)
  const closed = lanes.close()
  look.resolve(true)
  await closed
  expect([made.length, lanes.isOpen]).toEqual([0, false])
})

test('there is none where others do not allow it, and a pause where the table is not fit, or not seen', async () => {
  const { lanes, made, forbid } = lanesUnderTest()
  forbid()
  lanes.answered(full)
  await turns()
  expect(made.length).toBe(0)
  for (const isFit of [async () => false, () => Promise.reject(new Error('away'))]) {
    let looks = 0
    const other = lanesUnderTest({
      isFit: () => {
        looks += 1
        return isFit()
      },
    })
    for (const ms of [0, 0, 999, 1]) {
      other.pass(ms)
      other.lanes.answered(full)
      await turns()
    }
    expect([other.made.length, other.lanes.isOpen, looks]).toEqual([0, false, 2])
  }
})

test('after a refusal the table is looked at again; a loss is told, as the server may have crashed', async () => {
  const error = new Error('no')
  for (const [end, heard] of [
    [{ is: 'failed', error }, ['forget']],
    [{ is: 'lost', error }, ['lost']],
    [{ is: 'refused', error }, []],
    [{ is: 'closed' }, []],
  ] as const) {
    const { lanes, made, told } = lanesUnderTest()
    lanes.answered(full)
    await turns()
    made[0]?.works()
    made[0]?.end(end)
    made[1]?.end({ is: 'closed' })
    await turns()
    expect(told, end.is).toEqual(heard)
  }
})
