import { expect, test } from 'vitest'
import { createReconciler } from '../../../src/worker/reconcile.js'

const row = { id: '1', lease: '7' }

function underTest() {
  const known = new Set<string>()
  const state = { claimingSince: null as number | null }
  const reconciler = createReconciler({
    knows: (id, lease) => known.has(`${id} ${lease}`),
    claimingSince: () => state.claimingSince,
  })
  return { reconciler, known, state }
}

test('a row that two heartbeats in a row show and nothing explains is given back, and again until it is gone', () => {
  const { reconciler } = underTest()
  expect(reconciler.look([row], 10)).toEqual([])
  expect(reconciler.look([row], 20)).toEqual([row])
  expect(reconciler.look([row], 30)).toEqual([row])
  expect(reconciler.look([], 40)).toEqual([])
})

test('a row that a heartbeat shows once is left alone: its run may have ended since the snapshot', () => {
  const { reconciler, known } = underTest()
  known.add('1 7')
  expect(reconciler.look([row], 10)).toEqual([])
  // Its outcome becomes durable after the second snapshot, and before its answer; at the first it ran.
  known.delete('1 7')
  expect(reconciler.look([], 20)).toEqual([])
  expect(reconciler.look([row], 30)).toEqual([])
})

test('a row whose job runs, or whose outcome is not durable, is left alone', () => {
  const { reconciler, known } = underTest()
  known.add('1 7')
  for (const at of [10, 20, 30]) expect(reconciler.look([row], at)).toEqual([])
})

test('a run under another lease explains nothing', () => {
  const { reconciler, known } = underTest()
  known.add('1 6')
  expect(reconciler.look([row], 10)).toEqual([])
  expect(reconciler.look([row], 20)).toEqual([row])
})

test('a claim in flight explains what it may have taken: sent before the answer that showed it first', () => {
  const { reconciler, state } = underTest()
  // Sent after the heartbeat and before its answer: it may have committed in between.
  state.claimingSince = 9
  expect(reconciler.look([row], 10)).toEqual([])
  expect(reconciler.look([row], 20)).toEqual([])
  expect(reconciler.look([row], 30)).toEqual([])
  state.claimingSince = null
  expect(reconciler.look([row], 40)).toEqual([row])
})

test('a busy consumer has a claim in flight at every heartbeat: one sent later explains nothing', () => {
  const { reconciler, state } = underTest()
  state.claimingSince = 9
  expect(reconciler.look([row], 10)).toEqual([])
  state.claimingSince = 19
  expect(reconciler.look([row], 20)).toEqual([row])
})

test('a row of the former worker id says nothing of the new one', () => {
  const { reconciler } = underTest()
  reconciler.look([row], 10)
  reconciler.restart()
  expect(reconciler.look([row], 20)).toEqual([])
})
