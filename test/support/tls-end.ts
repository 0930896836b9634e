import type { Socket } from 'node:net'
import { TLSSocket } from 'node:tls'

/** For `localhost`, signed by itself, for a hundred years. It guards nothing. */
export const certificate = `-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUV3hXFMcSAAQi5qW/Ag0uj2wkM0QwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyODIzNTk1MloYDzIxMjYxMTA0
MjM1OTUyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAATRd6tvbDalQXt6LMlg/uD8bj54cIM/xWdLRToJY8GaX/2KiWx1vokB
fabTJ5Uz3mYRdugupu4Qbytszy8z9GO0o1MwUTAdBgNVHQ4EFgQUGTkKhsZ9hVcf
uPKhaFuzCQXxAR0wHwYDVR0jBBgwFoAUGTkKhsZ9hVcfuPKhaFuzCQXxAR0wDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAmsqLIy4zCUt0SGa7ZQsR
6foSmkRuopRtfl07uFaf/OQCIQDKxQ3OUc5d1skdXWU5xcJVTTDje/FwUuF0UNLs
UXJG7g==
-----END CERTIFICATE-----`
const key = `-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgK0mcLST35bruKbFq
sqI1HPuV0E1PdXDQZxaR6bgL/7GhRANCAATRd6tvbDalQXt6LMlg/uD8bj54cIM/
xWdLRToJY8GaX/2KiWx1vokBfabTJ5Uz3mYRdugupu4Qbytszy8z9GO0
-----END PRIVATE KEY-----`

/** The server's end of TLS: grants the client's request for it, and resolves with what speaks plainly behind it. */
export function tlsEnd(client: Socket): Promise<TLSSocket> {
  return new Promise((resolve) => {
    client.once('data', () => {
      client.write('S')
      resolve(new TLSSocket(client, { isServer: true, cert: certificate, key }))
    })
  })
}
