import type { PutOptions } from '../../src/index.js'

export type KeyMode = NonNullable<PutOptions['keyMode']>
/** Every mode, for the tests that hold for each. */
export const keyModes: readonly KeyMode[] = ['replace', 'keep', 'reject']
