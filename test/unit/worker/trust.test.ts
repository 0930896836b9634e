import { expect, test } from 'vitest'
import { createTrust, type Trust } from '../../../src/worker/trust.js'

const second = 1_000
const minute = 60_000
const long = 3_600_000

function underTest() {
  let at = 5_000
  const trust = createTrust(() => at)
  return {
    trust,
    pass(ms: number) {
      at += ms
    },
  }
}

/** Not yet after one ms less, and then. */
function expectTrustAfter(ms: number, { trust, pass }: { trust: Trust; pass: (ms: number) => void }): void {
  expect(trust.isTrusted).toBe(false)
  pass(ms - 1)
  expect(trust.isTrusted).toBe(false)
  pass(1)
  expect(trust.isTrusted).toBe(true)
}

test('without a control session nothing is trusted, however long nothing happens', () => {
  const { trust, pass } = underTest()
  expect(trust.isTrusted).toBe(false)
  pass(2 * minute)
  expect(trust.isTrusted).toBe(false)
})

test('a server that has run for a minute without a crash is trusted at once', () => {
  const { trust } = underTest()
  trust.present(minute)
  expect(trust.isTrusted).toBe(true)
})

test('a server that has not is trusted when it has, also where its clock has gone backwards', () => {
  const young = underTest()
  young.trust.present(20 * second)
  expectTrustAfter(40 * second, young)
  const wrong = underTest()
  wrong.trust.present(-5 * second)
  expectTrustAfter(65 * second, wrong)
})

test('after the loss of the control session a minute passes from its return, however long it was away', () => {
  const it = underTest()
  it.trust.present(long)
  it.trust.lost('session')
  expect(it.trust.isTrusted).toBe(false)
  it.pass(10 * minute)
  expect(it.trust.isTrusted).toBe(false)
  it.trust.present(long)
  expectTrustAfter(minute, it)
})

test('after the loss of a statement a minute passes, and from the last one', () => {
  const it = underTest()
  it.trust.present(long)
  it.trust.lost('statement')
  it.pass(30 * second)
  it.trust.lost('statement')
  expectTrustAfter(minute, it)
})

test('a worker that takes another id on the same session shortens nothing', () => {
  const it = underTest()
  it.trust.present(long)
  it.trust.lost('statement')
  it.pass(second)
  it.trust.present(long)
  expectTrustAfter(59 * second, it)
})
