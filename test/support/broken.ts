/** What a handler or a middleware does that always throws. */
export const broken = (): never => {
  throw new Error('broken')
}
