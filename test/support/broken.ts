/** A handler that throws an Error, `broken`. */
export const broken = (): never => {
  throw new Error('broken')
}

/** A handler that throws that value. */
export const throwing = (thrown: unknown) => (): never => {
  throw thrown
}
