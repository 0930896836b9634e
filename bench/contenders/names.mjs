/** The peers, by the names under which a scenario knows them. */
export const peers = [
  'graphile-default',
  'graphile-recommended',
  'graphile-record',
  'graphile-0.17-default',
  'graphile-0.17-recommended',
  'graphile-0.17-record',
  'pg-boss',
  'bullmq-pg',
]

/**
 * Those that are measured if none is named. The older Graphile Worker beside the newer one is so only when it is asked
 * for, and so is a number for what look-ahead should find by itself.
 *
 * @param {readonly string[]} contenders
 */
export function unlessAsked(contenders) {
  return contenders.filter((name) => !/0\.17|prefetch-16/.test(name))
}
