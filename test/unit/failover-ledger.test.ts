import { expect, test } from 'vitest'
import { createFailoverLedger } from '../faults/failover-ledger.mjs'

const [first, second] = [
  { attempt: 1, workerId: '1', by: 'worker1' },
  { attempt: 1, workerId: '2', by: 'worker2' },
]

/** A job that ran twice around a failover, and was told as acked by both. */
function ledgerOf(isSynchronous: boolean, at: { ranFirst: number; ackedFirst: number; ackedSecond: number }) {
  const ledger = createFailoverLedger()
  ledger.rounds.push({ isSynchronous, killedAt: 10_000, promotedAt: 10_500 })
  const put = ledger.put('q')
  Object.assign(put, { fate: 'committed', answeredAt: 1_000 })
  const { token } = put
  ledger.ran({ ...first, token, at: at.ranFirst })
  ledger.ran({ ...second, token, at: 10_700 })
  const acks = [
    { ...first, token, at: at.ackedFirst },
    { ...second, token, at: at.ackedSecond },
  ]
  for (const ack of acks.toSorted((a, b) => a.at - b.at)) ledger.acked(ack)
  return ledger.judge([])
}

test('an ack that is lost with an asynchronous primary comes twice; that of a synchronous one must not', () => {
  const at = { ranFirst: 9_900, ackedFirst: 9_950, ackedSecond: 10_800 }
  expect(ledgerOf(false, at)).toMatchObject({ violations: [], ackedAgain: 1 })
  expect(ledgerOf(true, at).violations).toMatchObject([expect.stringContaining('settled twice')])
})

test('a run whose claim is lost may be told as acked after the job ran once more, if it began before', () => {
  const at = { ranFirst: 9_990, ackedFirst: 11_200, ackedSecond: 10_800 }
  expect(ledgerOf(false, at)).toMatchObject({ violations: [], ackedAgain: 1 })
  expect(ledgerOf(true, at).violations).toHaveLength(1)
  expect(ledgerOf(false, { ...at, ranFirst: 10_600 }).violations).toHaveLength(1)
})
