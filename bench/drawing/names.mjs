/** How contenders are called in charts. */

const titles = new Map([
  ['bugle', 'Bugle'],
  ['bugle-prefetch-0', 'Bugle, prefetch: 0'],
  ['engine', 'engine (bare statements)'],
  ['bare-insert', 'a bare insert, to its answer'],
  ['graphile-default', 'Graphile Worker, default'],
  ['graphile-recommended', 'Graphile Worker, recommended'],
  ['graphile-record', 'Graphile Worker, record'],
  ['pg-boss', 'pg-boss'],
  ['bullmq-pg', 'BullMQ on PostgreSQL'],
])

/** @param {string} contender */
export function titled(contender) {
  return titles.get(contender) ?? contender
}

/**
 * The contender, if the figure is that quantile of it.
 *
 * @param {string} figure
 * @param {string} part
 */
export function quantile(figure, part) {
  return figure.endsWith(` ${part}`) ? figure.slice(0, -part.length - 1) : undefined
}
