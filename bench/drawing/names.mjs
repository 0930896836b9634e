/** How contenders are called in charts. */

const titles = new Map([
  ['bugle', 'Bugle'],
  ['bugle-no-express', 'Bugle, express: false'],
  ['bugle-prefetch-0', 'Bugle, prefetch: 0'],
  ['engine', 'engine (bare statements)'],
  ['engine-128', 'engine, batches of 128'],
  ['engine-500', 'engine, batches of 500'],
  ['engine-2x500', 'engine, batches of 500, twice at once'],
  ['engine-express', 'engine, the cheapest statements'],
  ['bare-insert', 'a bare insert, to its answer'],
  ['graphile-default', 'Graphile Worker, default'],
  ['graphile-recommended', 'Graphile Worker, recommended'],
  ['graphile-record', 'Graphile Worker, record'],
  ['graphile-0.17-default', 'Graphile Worker 0.17, default'],
  ['graphile-0.17-recommended', 'Graphile Worker 0.17, recommended'],
  ['graphile-0.17-record', 'Graphile Worker 0.17, record'],
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
