import { durationText } from '../terminal/text.js'
import type { Check, Diagnosis } from './check.js'
import { ok } from './check.js'
import { compare } from './drift.js'
import type { Patient } from './patient.js'
import { expectedObjects, type SchemaObject } from './statements.js'

interface Settings {
  readonly autovacuum: boolean
  readonly trackCounts: boolean
  readonly naptimeMs: number
}

/** PostgreSQL's default is a minute. */
const longestNaptimeMs = 300_000

/** Is the table of jobs vacuumed by itself, and as the migrations set it up? */
export const autovacuum: Check = {
  name: 'autovacuum',
  needs: ['schema'],
  async look(patient) {
    const [settings] = await patient.ask<Settings>('autovacuum')
    const found = [...(settings === undefined ? [] : server(settings)), ...(await tables(patient))]
    return found.length > 0 ? found : [ok('autovacuum is on, and the tables have our settings')]
  },
}

const so = 'dead rows stay, and claims walk over them'

function server({ autovacuum: isOn, trackCounts, naptimeMs }: Settings): Diagnosis[] {
  const reload = 'select pg_reload_conf();'
  const found: Diagnosis[] = []
  if (!isOn) {
    const remedy = `alter system set autovacuum = on; ${reload}`
    found.push({ status: 'trouble', message: `autovacuum is off on this server: ${so}`, remedy })
  }
  if (!trackCounts) {
    const remedy = `alter system set track_counts = on; ${reload}`
    found.push({ status: 'trouble', message: `track_counts is off, so autovacuum does not work: ${so}`, remedy })
  }
  if (naptimeMs > longestNaptimeMs) {
    const remedy = `alter system set autovacuum_naptime = '1min'; ${reload}`
    const message = `autovacuum looks only every ${durationText(naptimeMs)} (autovacuum_naptime)`
    found.push({ status: 'note', message, remedy, details: { naptimeMs } })
  }
  return found
}

async function tables(patient: Patient): Promise<Diagnosis[]> {
  const ofParameters = ({ kind }: SchemaObject): boolean => kind === 'parameter'
  const there = (await patient.ask<SchemaObject>('schema_objects')).filter(ofParameters)
  const off = there.filter(({ name, definition }) => name.endsWith('.autovacuum_enabled') && isOff(definition))
  const found: Diagnosis[] = off.map(({ name }) => {
    const { table, parameter } = split(name)
    return {
      status: 'trouble',
      message: `autovacuum is off for table ${table}: ${so}`,
      remedy: `alter table ${patient.qualified(table)} reset (${parameter});`,
      details: { table },
    }
  })
  for (const { is, object, found: value } of compare(expectedObjects().filter(ofParameters), there)) {
    if (is === 'added') continue
    const { table, parameter } = split(object.name)
    found.push({
      // A value of their own somebody has chosen; PostgreSQL's default lets a fifth of a large table die first.
      status: is === 'missing' ? 'trouble' : 'note',
      message:
        is === 'missing'
          ? `table ${table} has lost its ${parameter}: vacuum comes too late, and ${so}`
          : `${parameter} of table ${table} is ${value}, and was set to ${object.definition} by the migrations`,
      remedy: `alter table ${patient.qualified(table)} set (${parameter} = ${object.definition});`,
      details: { table, parameter, expected: object.definition, found: value },
    })
  }
  return found
}

function isOff(value: string): boolean {
  return ['false', 'off', 'no', '0'].includes(value.toLowerCase())
}

function split(name: string): { table: string; parameter: string } {
  const at = name.indexOf('.')
  return { table: name.slice(0, at), parameter: name.slice(at + 1) }
}
