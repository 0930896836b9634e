import { expect, onTestFinished, test, vi } from 'vitest'
import { createClaimer } from '../../../../src/consume/claim/claimer.js'
import { createSuspectTurn, createTurns } from '../../../../src/consume/claim/suspects.js'
import type { ClaimRequest } from '../../../../src/consume/statements.js'
import type { Database } from '../../../../src/database/database.js'
import { databaseError } from '../../../support/settler.js'

interface Row {
  readonly id: string
  readonly crashes?: number
}

/**
 * A queue in memory, of which nothing is locked. `fails` may throw for a claim: by its name, and the ids that it takes.
 */
function underTest(
  rows: readonly Row[],
  fails: (name: string, ids: string[]) => void = () => {},
  freeFor = (limit: number) => limit,
) {
  let ready = [...rows]
  const sent: string[] = []
  /** Those that a crash of the server may forget. */
  const forgettable: string[] = []
  const errors: string[] = []
  const idsOf = (text: unknown): string[] => String(text).slice(1, -1).split(',').filter(Boolean)
  const query = async (name: string, given: readonly unknown[]): Promise<unknown[]> => {
    const limit = Number(given[1])
    const except = name === 'claimable' ? idsOf(given[4]) : name === 'claim_some' ? idsOf(given[11]) : []
    const isFresh = ({ crashes = 0 }: Row): boolean => crashes === 0
    const seen = ready
      .filter((row) => (name === 'claim_listed' ? idsOf(given[9]).includes(row.id) : !except.includes(row.id)))
      .filter((row) => !(name === 'claimable' || given[10] === 'true') || isFresh(row))
      .slice(0, limit)
    if (name === 'claimable') return seen
    const taken = seen.filter((row) => name === 'claim_listed' || isFresh(row))
    const suspects = seen.filter((row) => !taken.includes(row)).map(({ id }) => id)
    if (given[8] === 'true') forgettable.push(name)
    sent.push(`${name} ${name === 'claim_listed' ? idsOf(given[9]).join() : limit}`)
    fails(
      name,
      taken.map(({ id }) => id),
    )
    ready = ready.filter((row) => !taken.includes(row))
    const isShort = seen.length < limit
    const short = { xmin: '9', target: '9', left_behind: false, due_in_ms: null, paused: false }
    const signs = {
      claimed_at: 0,
      took_ms: 1,
      acked: null,
      suspects: suspects.length === 0 ? null : suspects,
      short: isShort ? short : null,
    }
    const rest = { priority: 0, crashes: 0, flags: null, payload: null, progress: null, signs: null }
    return [...taken.map((row) => ({ ...rest, ...row })), { id: null, signs }]
  }
  const turn = createSuspectTurn()
  let wakes = 0
  const wake = (): void => {
    wakes += 1
  }
  const turns = createTurns(wake)
  const claimer = createClaimer({
    database: { query } as unknown as Database,
    choice: { queue: 'q', kinds: null, withoutFlags: [] },
    turn,
    turns,
    freeFor,
    onSuspects: () => {},
    onTurn: () => sent.push('turn'),
    wake,
    onError: ({ message }) => errors.push(message),
    now: () => performance.now(),
  })
  return {
    sent,
    errors,
    turn,
    turns,
    claimer,
    wakes: () => wakes,
    forgettable,
    async claim(limit: number, acks: ClaimRequest['acks'] = []) {
      const request = { acks, from: null, proves: true, mayBeForgotten: true }
      const { claimed } = await claimer.claim(limit, '5', request)
      const { asked, found, leftBehind, dueInMs } = claimed
      return {
        ids: claimed.jobs.map(({ job }) => job.id).join(),
        asked,
        found,
        leftBehind,
        dueInMs,
        jobs: claimed.jobs,
      }
    },
  }
}

const rowsOf = (text: string): Row[] =>
  text.split(' ').map((row) => ({ id: row.replace('!', ''), crashes: row.endsWith('!') ? 1 : 0 }))

test('where there is nothing to take care of a claim is one statement', async () => {
  const { claim, sent } = underTest(rowsOf('1 2 3'))
  expect(await claim(2)).toMatchObject({ ids: '1,2', asked: 2, found: 2, leftBehind: false })
  expect(await claim(2)).toMatchObject({ ids: '3', asked: 2, found: 1, leftBehind: false })
  expect(sent).toEqual(['claim 2', 'claim 2'])
})

test('a claim may be forgotten, but not one that carries acks, of a suspect, past suspects, or in parts', async () => {
  const { claim, sent, forgettable, errors } = underTest(rowsOf('1 2 3! 4! 5'), (_, ids) => {
    if (ids.includes('5')) throw databaseError('23514')
  })
  await claim(1)
  expect(forgettable).toEqual(['claim'])
  await claim(1, [{ id: '1', lease: '1' }])
  expect(forgettable).toEqual(['claim'])
  await claim(2)
  for (const one of ['claim_listed 3', 'claim_some 1', 'claim_listed 5']) expect(sent).toContain(one)
  expect(forgettable).toEqual(['claim', 'claim'])
  // What is passed over takes another statement.
  expect(errors).toHaveLength(1)
  const before = sent.length
  await claim(1)
  expect(sent[before]).toBe('claim_some 1')
  expect(forgettable).toEqual(['claim', 'claim'])
})

test('one suspect is claimed, alone; the next one when its outcome is durable', async () => {
  const { claim, turns, sent } = underTest(rowsOf('1! 2 3!'))
  const first = await claim(5)
  expect(first).toMatchObject({ ids: '1,2', asked: 5, found: 2, leftBehind: true })
  expect(sent).toEqual(['claim 5', 'turn', 'claim_listed 1'])
  expect(await claim(5)).toMatchObject({ ids: '', found: 0, leftBehind: true })
  const [suspect] = first.jobs
  if (suspect !== undefined) turns.ended(suspect)
  expect(await claim(5)).toMatchObject({ ids: '3', found: 1, leftBehind: false })
})

test('one that is stuck leaves its turn; its end, in the turn of the next one, leaves that alone', async () => {
  const { claim, turns } = underTest(rowsOf('1! 2! 3!'))
  const [stuck] = (await claim(5)).jobs
  if (stuck === undefined) throw new Error('no suspect was claimed')
  turns.ended(stuck)
  const [next] = (await claim(5)).jobs
  expect(next?.job.id).toBe('2')
  turns.ended(stuck)
  expect(await claim(5)).toMatchObject({ ids: '', leftBehind: true })
  if (next !== undefined) turns.ended(next)
  expect(await claim(5)).toMatchObject({ ids: '3', leftBehind: false })
})

test('a suspect that nobody aborts leaves its turn after ten minutes, and the consumer claims the next', async () => {
  vi.useFakeTimers()
  onTestFinished(() => void vi.useRealTimers())
  const { claim, turns, wakes } = underTest(rowsOf('1! 2! 3!'))
  const [hanging] = (await claim(5)).jobs
  await vi.advanceTimersByTimeAsync(599_999)
  expect([wakes(), await claim(5)]).toMatchObject([0, { ids: '' }])
  await vi.advanceTimersByTimeAsync(1)
  expect([wakes(), await claim(5)]).toMatchObject([1, { ids: '2' }])
  if (hanging !== undefined) turns.ended(hanging)
  expect(await claim(5)).toMatchObject({ ids: '' })
})

test('where suspects fill the claim, one more statement looks past them', async () => {
  const { claim, sent } = underTest(rowsOf('1! 2! 3! 4 5 6'))
  expect(await claim(3)).toMatchObject({ ids: '1,4,5', asked: 3, found: 3 })
  expect(sent).toEqual(['claim 3', 'turn', 'claim_listed 1', 'claim_some 2'])
  expect(await claim(3)).toMatchObject({ ids: '6', asked: 3, found: 1, leftBehind: true })
})

test('a suspect for which no slot is free is left, and the turn too', async () => {
  let free = 2
  const { claim, sent, turn } = underTest(rowsOf('1! 2 3 4! 5'), undefined, () => free)
  // Its statement was full, so nothing is known of what is scheduled.
  expect(await claim(3)).toMatchObject({ ids: '2,3', asked: 3, found: 2, leftBehind: true, dueInMs: 'unknown' })
  free = 0
  expect(await claim(2)).toMatchObject({ ids: '', found: 0, leftBehind: true })
  free = -1
  expect(await claim(4)).toMatchObject({ ids: '5', found: 1, leftBehind: true, dueInMs: null })
  expect(sent).toEqual(['claim 3', 'turn', 'claim 2', 'turn', 'claim 4', 'turn'])
  expect(turn.take(() => {})).not.toBeNull()
})

test('a claim that takes a suspect brings no job for which no slot is free', async () => {
  const { claim, sent } = underTest(rowsOf('1! 2 3! 4! 5 6 7'), undefined, () => 3)
  expect(await claim(4)).toMatchObject({ ids: '1,2,5', asked: 4, found: 3, leftBehind: true })
  expect(sent).toEqual(['claim 4', 'turn', 'claim_listed 1', 'claim_some 1'])
  // The turn is the first one's: others may be held again.
  expect(await claim(4)).toMatchObject({ ids: '6,7', asked: 4, found: 2, leftBehind: true })
})

test('a claim of a suspect that fails leaves the turn free, and says that jobs are left', async () => {
  let isGone = false
  const { claim, turn, errors } = underTest(rowsOf('1! 2'), (name) => {
    if (name !== 'claim_listed' || isGone) return
    isGone = true
    throw databaseError('CONNECTION_CLOSED')
  })
  // No throw: acks that went with the first statement are settled.
  expect(await claim(1)).toMatchObject({ ids: '', asked: 1, found: 0, leftBehind: true })
  expect(errors).toEqual(['code CONNECTION_CLOSED'])
  expect(turn.take(() => {})).not.toBeNull()
})

test('a statement that fails after others have taken jobs loses none of them, and proves nothing', async () => {
  const { claim, errors, turn } = underTest(rowsOf('1! 2 3'), (name) => {
    if (name === 'claim_listed') throw databaseError('CONNECTION_CLOSED')
  })
  expect(await claim(5)).toMatchObject({ ids: '2,3', asked: 5, found: 2, leftBehind: true })
  expect(errors).toEqual(['code CONNECTION_CLOSED'])
  expect(turn.take(() => {})).not.toBeNull()
})

test('the same in the middle of a claim in parts', async () => {
  const { claim } = underTest(rowsOf('1 2 3 4'), (_name, ids) => {
    if (ids.includes('3')) throw databaseError(ids.length > 2 ? 'P0001' : 'CONNECTION_CLOSED')
  })
  expect(await claim(4)).toMatchObject({ ids: '1,2', asked: 4, found: 2, leftBehind: true })
  await expect(claim(4)).rejects.toThrow('CONNECTION_CLOSED')
})

test('what is refused is passed over, and the claim ends with one that proves something', async () => {
  const { claim, errors, sent } = underTest(rowsOf('1 2 3 4'), (_name, ids) => {
    if (ids.includes('2')) throw databaseError('P0001')
  })
  expect(await claim(10)).toMatchObject({ ids: '1,3,4', asked: 10, found: 3, leftBehind: false })
  expect(errors).toEqual(['job 2 cannot be claimed, and is passed over for 1 s: code P0001'])
  const before = sent.length
  expect(await claim(10)).toMatchObject({ ids: '', asked: 10, found: 0, leftBehind: false })
  expect(sent.slice(before)).toEqual(['claim_some 10'])
})

test('a suspect that is refused is passed over as well, and the turn is free', async () => {
  const { claim, errors, turn } = underTest(rowsOf('1! 2'), (_name, ids) => {
    if (ids.includes('1')) throw databaseError('P0001')
  })
  expect(await claim(10)).toMatchObject({ ids: '2', found: 1 })
  expect(errors).toEqual(['job 1 cannot be claimed, and is passed over for 1 s: code P0001'])
  expect(turn.take(() => {})).not.toBeNull()
})

test('a claim refused for no job as well is an error of the consumer’s, and nothing is passed over', async () => {
  let isRefused = true
  const { claim, errors } = underTest(rowsOf('1 2'), () => {
    if (isRefused) throw databaseError('42501')
  })
  await expect(claim(2)).rejects.toThrow('42501')
  expect(errors).toEqual([])
  isRefused = false
  expect(await claim(2)).toMatchObject({ ids: '1,2', found: 2 })
})
