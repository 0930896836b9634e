import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createInFlight } from '../../../src/consume/in-flight.js'
import { isPending } from '../../support/stopping.js'

/** Where each job is, as a list of jobs says it. */
type Place = 'held' | 'begun' | 'gone'

test('the counters say what a list of jobs says, whatever happens in whatever order', () => {
  const step = fc.oneof(
    fc.record({ does: fc.constant('send' as const), jobs: fc.nat(20), acks: fc.nat(5) }),
    fc.record({ does: fc.constant('answer' as const), which: fc.nat(), found: fc.nat(20) }),
    fc.record({ does: fc.constant('fail' as const), which: fc.nat() }),
    fc.record({ does: fc.constant('begin' as const), jobs: fc.nat(5) }),
    fc.record({ does: fc.constant('settle' as const) }),
  )
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const inFlight = createInFlight()
      const jobs: Place[] = []
      let claims: { asks: number; acks: number; at: number; flight: ReturnType<typeof inFlight.claimSent> }[] = []
      const take = (which: number) => {
        const claim = claims[which % claims.length]
        claims = claims.filter((one) => one !== claim)
        return claim
      }
      const move = (from: Place, to: Place, most: number): number => {
        const moved = [...jobs.keys()].filter((at) => jobs[at] === from).slice(0, most)
        for (const at of moved) jobs[at] = to
        return moved.length
      }
      for (const [at, one] of steps.entries()) {
        if (one.does === 'send') {
          claims.push({ asks: one.jobs, acks: one.acks, at, flight: inFlight.claimSent(one.jobs, one.acks, at) })
        } else if (one.does === 'answer') {
          const claim = take(one.which)
          const found = Math.min(one.found, claim?.asks ?? 0)
          claim?.flight.answered(found)
          claim?.flight.over()
          if (claim !== undefined) jobs.push(...Array<Place>(found).fill('held'))
        } else if (one.does === 'fail') take(one.which)?.flight.over()
        else if (one.does === 'begin') inFlight.begun(move('held', 'begun', one.jobs))
        else if (move('begun', 'gone', 1) === 1) inFlight.settled()

        const count = (place: Place): number => jobs.filter((each) => each === place).length
        expect(inFlight).toMatchObject({
          asked: claims.reduce((sum, { asks }) => sum + asks, 0),
          travelling: claims.reduce((sum, { acks }) => sum + acks, 0),
          oldestClaimAt: claims[0]?.at ?? null,
          held: count('held'),
          claimed: count('held') + count('begun'),
          everClaimed: jobs.length,
        })
      }
    }),
  )
})

test('who waits until none is claimed is told when the last one is gone, and not before', async () => {
  const { claimSent, begun, settled, empty } = createInFlight()
  await empty()
  const claim = claimSent(2, 0, 1)
  // What is only asked for is no job.
  await empty()
  claim.answered(2)
  claim.over()
  const told = Promise.all([empty(), empty()])
  begun(2)
  settled()
  expect(await isPending(told)).toBe(true)
  settled()
  await told
})
