import createDebug from 'debug'
import { isRefusal } from '../../database/halving.js'
import { databaseFault } from '../../database/verdict.js'
import { toError } from '../../errors.js'
import { type Ending, withoutData, withPlainText } from './ending.js'
import { isOutdated, type Pending, tell } from './pending.js'
import type { SettlerParts } from './settler-parts.js'

const log = createDebug('bugle:settler')

/**
 * The same ending with less of its data, for an outcome that the database refuses: its text in ASCII, or none of it.
 *
 * @returns whether the database has taken that
 */
export async function settleInPart(
  { write, onRefused }: Pick<SettlerParts, 'write' | 'onRefused'>,
  outcome: Pending,
  refusal: Error,
): Promise<boolean> {
  const { settlement } = outcome
  const { ending, attempt } = settlement
  for (const [lesser, how] of [
    [withPlainText(ending), 'stored in ASCII'],
    [withoutData(ending, attempt), 'stored without data'],
  ] as const) {
    if (lesser === null) continue
    try {
      const answers = await write([{ ...settlement, ending: lesser }])
      if (isOutdated(outcome, answers)) return false
      if (how === 'stored without data' && ending.is === 'failed') tell([outcome], answers, refusal)
      else {
        tell([outcome], answers)
        if (hasValue(ending)) onRefused(settlement, refusal, how)
      }
      return true
    } catch (error) {
      log('%s, %s: %s', settlement.id, how, toError(error).message)
      if (databaseFault(error) === 'unknown') outcome.answerLost = true
      if (!isRefusal(error)) return false
    }
  }
  return false
}

/** Whether a handler gave it what is stored, and would miss it. */
function hasValue(ending: Ending): boolean {
  return ending.is === 'archived' || (ending.is === 'waiting' && ending.progress !== null)
}
