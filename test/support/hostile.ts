/** A getter, or a trap of a proxy, that throws. */
export const refusing = (): never => {
  throw new Error('a trap')
}

/** Makers of objects that throw when one of their properties is read. */
export const hostile: Record<string, () => unknown> = {
  'an object whose properties throw': () =>
    Object.defineProperties(
      {},
      Object.fromEntries(
        ['name', 'message', 'stack', 'code', 'cause', 'errors', 'toString', 'toJSON', 'then'].map((key) => [
          key,
          { get: refusing, enumerable: true },
        ]),
      ),
    ),
  'an error whose properties throw': () =>
    Object.defineProperties(new Error('x'), {
      // First, as V8 writes the stack when it is touched, and reads the others for it.
      stack: { get: refusing },
      name: { get: refusing },
      message: { get: refusing },
      cause: { get: refusing },
    }),
  'a proxy that refuses everything': () =>
    new Proxy(
      {},
      {
        get: refusing,
        has: refusing,
        ownKeys: refusing,
        getPrototypeOf: refusing,
        getOwnPropertyDescriptor: refusing,
        isExtensible: refusing,
      },
    ),
  'a revoked proxy': () => {
    const { proxy, revoke } = Proxy.revocable({}, {})
    revoke()
    return proxy
  },
}
