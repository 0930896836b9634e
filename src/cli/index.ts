#!/usr/bin/env node
/**
 * The command: `bugle <command>`, or `node dist/cli/index.js`.
 */
import { nodeTooOld } from '../node-version.js'

if (nodeTooOld === null) {
  // Loaded after the check: an older Node may be unable to link what comes with it.
  const { runCommand } = await import('./main.js')
  await runCommand(process)
} else {
  console.error(`bugle: ${nodeTooOld}`)
  process.exitCode = 1
}
