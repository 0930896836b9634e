// A process of its own in a fleet that consumes, in which one job is fatal. Started by fork().
// node poison-process.mjs <{ bugleUrl, connectionString, schema } as JSON>
//
// A job whose payload is 'poison' ends the process by SIGKILL. All others do nothing.
const { bugleUrl, connectionString, schema } = JSON.parse(process.argv[2] ?? '{}')
/** @type {typeof import('../../dist/index.js')} */
const { createBugle } = await import(bugleUrl)
const bugle = createBugle({ connectionString, schema, rescueAfterMs: 2_000, sweepMs: 1_000, logger: false })
await bugle.consume('q', (job) => {
  if (job.payload === 'poison') process.kill(process.pid, 'SIGKILL')
})
process.on('disconnect', () => process.exit())
