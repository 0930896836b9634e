import { expect, test } from 'vitest'
import { jobsToAskFor, type Wishes } from '../../../../src/consume/claim/jobs-to-ask-for.js'
import type { Where } from '../../../../src/consume/in-flight.js'

const idle: Where = { asked: 0, held: 0, claimed: 0, travelling: 0 }
const ten: Wishes = {
  slots: 10,
  ahead: 0,
  mostPerClaim: 500,
  mostLeft: Number.POSITIVE_INFINITY,
  overlaps: false,
  least: null,
}
const many: Wishes = { ...ten, ahead: 400, overlaps: true }

interface Case {
  readonly at?: Partial<Where>
  readonly waitingAcks?: number
  readonly wishes?: Partial<Wishes>
  readonly jobs: number
}

const cases: Readonly<Record<string, Case>> = {
  'nothing is claimed: all slots': { jobs: 10 },
  'some have begun: the other slots': { at: { claimed: 7 }, jobs: 3 },
  'a claim asks for some: the other slots': { at: { asked: 4, claimed: 3 }, jobs: 3 },
  'all slots are taken: none': { at: { claimed: 10 }, jobs: 0 },
  'more are claimed than slots are there: none': { at: { claimed: 12 }, jobs: -2 },
  'a waiting ack counts as gone': { at: { claimed: 10 }, waitingAcks: 6, jobs: 6 },
  'no more acks count than one claim takes along': { at: { claimed: 700 }, waitingAcks: 700, jobs: -190 },
  'a travelling ack counts as gone': { at: { claimed: 10, travelling: 6 }, jobs: 6 },
  'look-ahead comes on top of the slots': { wishes: { ahead: 30 }, jobs: 40 },
  'look-ahead is used up by what is held': { at: { claimed: 25, held: 15 }, wishes: { ahead: 30 }, jobs: 15 },
  'with look-ahead one claim asks for 500 at most': { wishes: { ahead: 900 }, jobs: 500 },
  'slots alone may be more than that': { wishes: { slots: 800, ahead: 900, mostPerClaim: 1_000 }, jobs: 800 },
  'heavy jobs: as many as fit': { wishes: { mostPerClaim: 4 }, jobs: 4 },
  'a limit: what is left of it, less what is asked for': { at: { asked: 2 }, wishes: { mostLeft: 5 }, jobs: 3 },
  'jobs at hand, and few wanted: no claim is worth it': { at: { claimed: 350, held: 340 }, wishes: many, jobs: 0 },
  'jobs at hand, and a quarter of the look-ahead wanted': { at: { claimed: 310, held: 300 }, wishes: many, jobs: 100 },
  'no job at hand: any number is worth it': { at: { claimed: 400 }, wishes: many, jobs: 10 },
  'beside a lane, with all slots taken: one': { at: { claimed: 500 }, wishes: { least: 1 }, jobs: 1 },
  'claims do not overlap: any number is worth it': {
    at: { claimed: 350, held: 340 },
    wishes: { ...many, overlaps: false },
    jobs: 60,
  },
}

test.each(Object.entries(cases))('%s', (_, { at, waitingAcks = 0, wishes, jobs }) => {
  expect(jobsToAskFor({ ...idle, ...at }, waitingAcks, { ...ten, ...wishes })).toBe(jobs)
})
