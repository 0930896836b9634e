import { expect, test } from 'vitest'
import { judgeBursts } from '../faults/bursts/judge.mjs'
import type { Entry } from '../faults/journal.mjs'
import type { Step } from '../faults/ledger.mjs'

const step: Step = {
  at: 1_000,
  tx: '1',
  by: 'producer',
  statement: null,
  job: '1',
  token: -1,
  from: null,
  to: 'ready',
  workerId: null,
  leaseFrom: null,
  leaseTo: '0',
  attemptFrom: null,
  attemptTo: 0,
  crashesFrom: null,
  crashesTo: 0,
  error: null,
  version: 1,
}
const put = { ...step }
const onLane = { ...step, by: 'w1.1 lane', statement: 'express_ack', from: 'ready', to: 'deleted', at: 1_020 }

function entry(did: string, ms: number, more: Partial<Entry> = {}): Entry {
  return { did, by: 'w1.1', at: ms, ms, token: -1, version: 1, ...more }
}

const ran = [entry('run', 1_010), entry('ran', 1_011)]
const again = [entry('run', 1_050, { by: 'w2.1' }), entry('ran', 1_051, { by: 'w2.1' })]

interface Story {
  readonly steps: readonly Step[]
  readonly entries: readonly Entry[]
  /** Done to the lane of w1.1. */
  readonly harm?: { readonly kind: string; readonly from: number; readonly to: number }
}

function verdictOn({ steps, entries, harm }: Story): (string | undefined)[] {
  const { violations } = judgeBursts({
    puts: [{ first: -1, count: 1, fate: 'committed' }],
    steps,
    entries,
    workers: [
      { id: '71', name: 'w1.1' },
      { id: '72', name: 'w2.1' },
    ],
    lives: ['w1.1', 'w2.1'].map((name) => ({ name, pid: 1, harms: [], wayHarms: [], stoppedBy: null, stop: null })),
    restarts: [],
    meddled: harm === undefined ? [] : [{ name: 'w1.1', harm }],
  })
  return violations.map((text) => text.split('\n')[0]?.replace('burst -1, committed: ', ''))
}

const lost = { kind: 'terminated', from: 1_012, to: 1_013 }
const kept = { ...step, from: 'ready', to: 'running', workerId: '71', leaseTo: '9', by: 'w1.1 lane', at: 1_020 }
const byOwner = { ...kept, from: 'running', leaseFrom: '9', by: 'w1.1', statement: 'settle' }
const stories: Record<string, { story: Story; violations: string[] }> = {
  'acked on a lane, and told': {
    story: { steps: [put, onLane], entries: [...ran, entry('told', 1_030)] },
    violations: [],
  },
  'its row was never there': { story: { steps: [], entries: [] }, violations: ['lost: there was never such a row'] },
  'it is there still': { story: { steps: [put], entries: ran }, violations: ['deleted 0 times'] },
  'deleted, and edited since it ran': {
    story: { steps: [put, { ...onLane, version: 2 }], entries: ran },
    violations: ['deleted by w1.1 lane, where version 2 has not run to its end'],
  },
  'deleted by another than has run it': {
    story: { steps: [put, { ...onLane, by: 'w2.1 lane' }], entries: ran },
    violations: ['deleted by w2.1 lane, where version 1 has not run to its end'],
  },
  'run again after it was told as acked': {
    story: { steps: [put, onLane], entries: [...ran, entry('told', 1_030), ...again], harm: lost },
    violations: ['ran in w2.1 after it was told as acked'],
  },
  'run again after a loss': {
    story: { steps: [put, onLane], entries: [...ran, ...again], harm: lost },
    violations: [],
  },
  'run again for no reason': {
    story: { steps: [put, onLane], entries: [...ran, ...again] },
    violations: ['ran again in w2.1, and nothing had happened to w1.1'],
  },
  'edited, and run again as it says now': {
    story: {
      steps: [put, { ...onLane, version: 2 }],
      entries: [...ran, ...ran.map((one) => ({ ...one, version: 2 }))],
    },
    violations: [],
  },
  'kept, kept once more as it is, and settled': {
    story: {
      steps: [
        put,
        kept,
        { ...byOwner, to: 'running', statement: 'keep_express', leaseTo: '9' },
        { ...byOwner, to: 'deleted' },
      ],
      entries: ran,
    },
    violations: [],
  },
  'kept, and taken from its owner': {
    story: {
      steps: [
        put,
        kept,
        { ...byOwner, to: 'running', statement: 'keep_express', leaseTo: '10', by: 'w2.1' },
        { ...byOwner, to: 'deleted' },
      ],
      entries: ran,
    },
    violations: ['taken from w1.1 while it ran'],
  },
  'settled by another than its owner': {
    story: { steps: [put, kept, { ...byOwner, to: 'deleted', by: 'w2.1' }], entries: again },
    violations: ['w2.1 has settled what w1.1 holds'],
  },
}

test.for(Object.entries(stories))('the fault run on a job of a lane: %s', ([, { story, violations }]) => {
  expect(verdictOn(story)).toEqual(violations)
})
