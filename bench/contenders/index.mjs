/** Whoever runs jobs from PostgreSQL here: us, the peers by their public API, and our statements without a library. */
import { bugle } from './bugle.mjs'
import { bullmq } from './bullmq.mjs'
import { engine } from './engine.mjs'
import { engineExpress } from './engine-express.mjs'
import { graphile } from './graphile.mjs'
import { pgBoss } from './pg-boss.mjs'

/**
 * One queue named `bench`, jobs with the payload `{ n }`, logs off, what is done is not kept where that can be chosen.
 *
 * @typedef {object} Contender
 * @property {(url: string) => Promise<void>} prepare makes its tables and its queue in an empty database
 * @property {(url: string, options: { connections: number }) => Promise<Producer>} openProducer
 * @property {(url: string, options: ConsumerOptions) => Promise<Consumer>} openConsumer connected, and consuming
 *   nothing yet
 * @property {(query: import('../server.mjs').Database['query']) => Promise<number>} left jobs that are not done, failed
 *   ones too, as the database has it
 * @property {(slots: number) => object} settings what was set in `openConsumer`
 *
 * @typedef {{ n: number }} Payload
 *
 * @typedef {object} Producer
 * @property {(payload: Payload) => Promise<unknown>} addOne
 * @property {(payloads: readonly Payload[]) => Promise<unknown>} addMany by its own call for many, in one go
 * @property {() => Promise<void>} end
 *
 * @typedef {object} ConsumerOptions
 * @property {number} slots jobs at once
 * @property {(payload: Payload) => Promise<void>} handler
 *
 * @typedef {object} Consumer
 * @property {() => Promise<void>} start also again after a stop
 * @property {() => Promise<void>} stop
 * @property {() => Promise<void>} end
 */

/** @type {Readonly<Record<string, Contender>>} */
const contenders = {
  bugle: bugle({}),
  'bugle-no-express': bugle({ express: false }),
  'bugle-prefetch-0': bugle({ prefetch: 0 }),
  'bugle-prefetch-16': bugle({ prefetch: 16 }),
  engine: engine({}),
  'engine-128': engine({ batch: 128 }),
  'engine-500': engine({ batch: 500 }),
  'engine-2x500': engine({ batch: 500, connections: 2 }),
  'engine-express': engineExpress({ batch: 500 }),
  'graphile-default': graphile('default', 'graphile-worker'),
  'graphile-recommended': graphile('recommended', 'graphile-worker'),
  'graphile-record': graphile('record', 'graphile-worker'),
  'graphile-0.17-default': graphile('default', 'graphile-worker-0.17'),
  'graphile-0.17-recommended': graphile('recommended', 'graphile-worker-0.17'),
  'graphile-0.17-record': graphile('record', 'graphile-worker-0.17'),
  'pg-boss': pgBoss(),
  'pg-boss-heartbeat': pgBoss({ batchSize: 20, heartbeatSeconds: 10, chosen: 'the shortest heartbeat that it takes' }),
  'bullmq-pg': bullmq(),
}

/**
 * @param {string} name
 * @returns {Contender}
 */
export function contender(name) {
  const found = contenders[name]
  if (found === undefined) throw new Error(`a contender is one of ${Object.keys(contenders).join(', ')}; got '${name}'`)
  return found
}
