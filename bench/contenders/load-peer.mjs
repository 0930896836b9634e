/**
 * A peer's module. By a name that is no literal: the types of this checkout hold without the peers being installed.
 *
 * @param {string} name
 * @returns {Promise<any>}
 */
export function loadPeer(name) {
  return import(name)
}
