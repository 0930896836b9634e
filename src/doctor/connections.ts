import { type Check, ok } from './check.js'

/** A deploy starts the new processes beside the old ones: below this there is no room for that. */
const noteAbove = 0.85

/** How many sessions the server may still take. */
export const connections: Check = {
  name: 'connections',
  needs: ['connection'],
  async look(patient) {
    const [row] = await patient.ask<{ used: number; usable: number }>('connections')
    const { used = 0, usable = 0 } = row ?? {}
    const message = `${used} of ${usable} connections of the server are in use`
    if (used <= usable * noteAbove) return [ok(message, { used, usable })]
    return [
      {
        status: 'note',
        message: `${message}: a process needs up to poolSize + 4 of them (two are its listener and control session)`,
        remedy:
          'alter system set max_connections = 200;   -- and restart the server; ' +
          'or give the instances a smaller poolSize',
        details: { used, usable },
      },
    ]
  },
}
