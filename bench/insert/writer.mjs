// A process that inserts rows by many connections, for machines without pgbench. Started by spawnChild().
//
// Args: { url, clients }
// Says 'ready' when all are connected. Asked: 'write' { text, values, seconds }, answered with { inserted, perSecond };
// 'stop'.
import pg from 'pg'
import { childArgs, nowMs, onMessage, say } from '../processes.mjs'

const { url, clients: count } = childArgs()
const clients = Array.from(
  { length: count },
  () => new pg.Client({ connectionString: url, application_name: 'bench writer' }),
)
await Promise.all(clients.map((client) => client.connect()))

onMessage({
  async write({ text, values, seconds }) {
    const from = nowMs()
    const until = from + seconds * 1_000
    const counts = await Promise.all(
      clients.map(async (client) => {
        let inserted = 0
        for (; nowMs() < until; inserted += 1) await client.query({ name: 'put', text, values })
        return inserted
      }),
    )
    const inserted = counts.reduce((sum, one) => sum + one, 0)
    return { inserted, perSecond: (inserted * 1_000) / (nowMs() - from) }
  },
  async stop() {
    await Promise.all(clients.map((client) => client.end()))
    process.exit()
  },
})
say('ready')
