import { lowestId } from '../../dist/consume/statements.js'

/**
 * As the library has it: in a backlog, claims of one priority come by id, so the next one need not walk over what died
 * before.
 *
 * @param {readonly { id: string, priority: number }[]} claimed the last time
 * @param {number} limit of that claim
 */
export function floorAfter(claimed, limit) {
  const [first, last] = [claimed[0], claimed.at(-1)]
  return last !== undefined && claimed.length === limit && first?.priority === last.priority ? last.id : lowestId
}
