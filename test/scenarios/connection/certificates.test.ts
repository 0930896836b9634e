import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { rootCertificates } from 'node:tls'
import { expect, onTestFinished } from 'vitest'
import { test } from '../../support/database.js'
import { startProxy } from '../../support/proxy.js'
import { certificate } from '../../support/tls-end.js'
import { until } from '../../support/until.js'

test('a root certificate that is exchanged under a running process counts from the next connect on', async ({ db }) => {
  const url = new URL(db.connectionString)
  const proxy = await startProxy({ host: url.hostname, port: Number(url.port) }, { tls: true })
  const folder = mkdtempSync(join(tmpdir(), 'bugle-certificates-'))
  onTestFinished(async () => {
    await proxy.close()
    rmSync(folder, { recursive: true })
  })
  const file = join(folder, 'root.pem')
  const other = rootCertificates[0] ?? ''
  writeFileSync(file, other)
  url.port = String(proxy.port)
  url.search = `sslmode=verify-ca&sslrootcert=${file}`
  const bugle = db.bugle({ connectionString: url.href })
  const refused = { code: 'DATABASE_DOWN', message: expect.stringMatching(/self-signed certificate$/) }
  // The first look is a session.
  await expect(bugle.put('q', 1)).rejects.toMatchObject(refused)
  writeFileSync(file, certificate)
  await bugle.put('q', 2)

  // The pool's next connection.
  for (const [content, why] of [
    [other, /self-signed certificate$/],
    [null, /ENOENT/],
  ] as const) {
    if (content === null) rmSync(file)
    else writeFileSync(file, content)
    await db.kill(await db.backends(''))
    const error = await until(async () => {
      const reason = await bugle.put('q', 3).catch((thrown) => thrown)
      return why.test(String(reason?.message)) && reason
    })
    expect(error.code).toBe('DATABASE_DOWN')
    writeFileSync(file, certificate)
    await until(() => bugle.put('q', 4).catch(() => false))
  }
})
