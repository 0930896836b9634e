import { BugleError } from '../../src/index.js'

/** The BugleError that this ends with; anything else, also success, is thrown. */
export async function refusal(act: () => unknown): Promise<BugleError> {
  let returned: unknown
  try {
    returned = await act()
  } catch (error) {
    if (error instanceof BugleError) return error
    throw error
  }
  throw new Error(`it was accepted, and answered ${JSON.stringify(returned) ?? typeof returned}`)
}
