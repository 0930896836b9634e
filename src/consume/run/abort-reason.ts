import { BugleError } from '../../errors.js'
import type { AbortCode } from '../../events.js'

/** What `signal.reason` is. */
export class AbortReason extends BugleError {
  declare readonly code: AbortCode
  constructor(code: AbortCode, message: string) {
    super(code, message)
  }
}
