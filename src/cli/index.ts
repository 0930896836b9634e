#!/usr/bin/env node
/**
 * The command: `bugle <command>`, or `node dist/cli/index.js`.
 */
import { runCommand } from './main.js'

await runCommand(process)
