import { createOutage } from '../../src/database/outage.js'
import { createPrimary } from '../../src/database/primary.js'

/** What a Database needs to know where it is, for tests that do not ask what it tells of that. */
export const untoldOutage = () => createOutage({ emit: () => {} }, () => performance.now())
export const untoldPrimary = () =>
  createPrimary({ onMoved: () => {}, onOutdated: () => {}, onSplit: () => {}, now: () => performance.now() })
