import type { Bugle, BugleEventName, BugleEvents } from '../../src/index.js'

/** Each event of that name from now on. */
export function collected<Name extends BugleEventName>(
  bugle: Pick<Bugle, 'on'>,
  name: Name,
): readonly BugleEvents[Name][] {
  const all: BugleEvents[Name][] = []
  bugle.on(name, (data) => void all.push(data))
  return all
}
