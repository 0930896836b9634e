// A program that starts a server and then ends, or waits to be killed.
// node embedded-parent.mjs <url of the module> <options as JSON> exit|wait
const [url = '', options = '{}', then = 'exit'] = process.argv.slice(2)
const { startEmbedded } = await import(url)
try {
  const { connectionString, dataDir, binDir, pid } = await startEmbedded(JSON.parse(options))
  console.log(JSON.stringify({ connectionString, dataDir, binDir, pid }))
} catch (error) {
  const { code, message } = /** @type {Error & { code?: string }} */ (error)
  console.log(JSON.stringify({ code, message }))
}
if (then === 'wait') process.stdin.resume()
