/** Sends one statement in the caller's transaction; the rows as objects, or a result that has them in `rows`. */
export type SendInTransaction = (
  text: string,
  values: (string | number | null)[],
) => Promise<readonly object[] | { readonly rows: readonly object[] }>
