import { isPeer } from '../peers.mjs'
import { median } from '../statistics.mjs'

/**
 * @param {string} caseName
 * @param {Readonly<Record<string, { values: readonly number[] }>>} figures
 * @returns {import('../scenarios.mjs').Ratio[]}
 */
export function ratiosOf(caseName, figures) {
  if (caseName === 'loaded') {
    return [{ name: 'bugle p99 at 50 % / idle p50', of: 'bugle at 50 % p99', to: 'bugle idle p50', wanted: '< 10' }]
  }
  return [
    ...besideTheBest(figures, 'p50', '<= 0.85'),
    ...besideTheBest(figures, 'p99', '<= 0.85'),
    // Of its three parts, the commit, the notification and the claim, it is one.
    { name: 'bugle p50 / bare insert p50', of: 'bugle p50', to: 'bare-insert p50', wanted: '<= 2' },
    { name: 'bugle p99 / bare insert p99', of: 'bugle p99', to: 'bare-insert p99' },
  ]
}

/**
 * @param {Readonly<Record<string, { values: readonly number[] }>>} figures
 * @param {string} quantile
 * @param {string} wanted
 */
function besideTheBest(figures, quantile, wanted) {
  const peers = Object.entries(figures)
    .filter(([name]) => name.endsWith(` ${quantile}`) && isPeer(name.slice(0, -quantile.length - 1)))
    .sort(([, { values: one }], [, { values: other }]) => median(one) - median(other))
  const [best] = peers[0] ?? []
  return [
    { name: `bugle ${quantile} / best peer's (${best ?? 'none'})`, of: `bugle ${quantile}`, to: best ?? '', wanted },
  ]
}
