import { schemaTooNew } from '../../database/database.js'
import { planMigration } from '../../database/migrate.js'
import { resolveBugleOptions } from '../../options.js'
import { shown } from '../../terminal/text.js'
import { type Cli, exitCodes, UsageError } from '../cli.js'

/**
 * `bugle migrate`. JSON: a MigrationReport, `{ "schema", "from", "to", "applied" }`.
 *
 * - `--status`: `{ "schema", "version", "newest", "due" }`; exit code 1 where something is due, or a newer version was
 *   here.
 * - `--dry-run`: the script; as JSON that of `--status` and `"script"`, which is '' where nothing is due.
 */
export async function migrate(
  cli: Cli,
  { dryRun = false, status = false }: { readonly dryRun?: boolean; readonly status?: boolean },
): Promise<number> {
  if (dryRun && status) throw new UsageError('give --dry-run or --status, not both')
  if (status) return tellStatus(cli)
  if (dryRun) return printScript(cli)
  const report = await cli.bugle().migrate()
  const { schema, from, to, applied } = report
  cli.out.json(report)
  cli.out.say(
    applied.length === 0
      ? `schema ${shown(schema)}: nothing to do, it is at step ${to}`
      : `schema ${shown(schema)}: from step ${from} to ${to} by ${applied.join(', ')}`,
  )
  return exitCodes.ok
}

async function tellStatus(cli: Cli): Promise<number> {
  const { out } = cli
  const { script: _, ...status } = await plan(cli)
  const { schema, version, newest, due } = status
  const isTooNew = version > newest
  const newer = isTooNew ? out.paint('red', ' (of a newer version of Bugle)') : ''
  out.json(status)
  out.say(
    [
      `schema        ${shown(schema)}`,
      `step here     ${version === 0 ? 'none' : version}${newer}`,
      `newest known  ${newest}`,
      `due           ${due.length === 0 ? 'nothing' : out.paint('yellow', due.join(', '))}`,
    ].join('\n'),
  )
  return due.length > 0 || isTooNew ? exitCodes.trouble : exitCodes.ok
}

async function printScript(cli: Cli): Promise<number> {
  const { out } = cli
  const found = await plan(cli)
  const { schema, version, newest, script } = found
  if (version > newest) throw schemaTooNew(schema, version)
  out.json(found)
  // An empty script is one that psql can run as well.
  if (script === '') out.note(`schema ${shown(schema)}: nothing is due`)
  else out.say(script.trimEnd())
  return exitCodes.ok
}

function plan({ env, common }: Cli) {
  const { listenConnection, schema, name } = resolveBugleOptions({ ...common, name: 'bugle command' }, env)
  return planMigration(listenConnection, schema, name)
}
