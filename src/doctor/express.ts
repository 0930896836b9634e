import type { TableFault } from '../consume/express/statements.js'
import { quoteIdentifier } from '../database/sql-files.js'
import { type Check, type Diagnosis, ok } from './check.js'
import type { Patient } from './patient.js'

/**
 * May a consumer have an express lane on this table? It may not where something of the application's could keep, change
 * or look at the rows that a lane deletes. The same statement tells it to consumers (consume/express/table-look.ts).
 *
 * Never trouble: all jobs run, and what is there may be meant so.
 */
export const express: Check = {
  name: 'express',
  needs: ['schema'],
  async look(patient) {
    const faults = await patient.askLibrary<TableFault>(patient.statements.express_table)
    if (faults.length === 0) return [ok('consumers may use express lanes: nothing stands beside the table of jobs')]
    const others = faults.filter(({ name }) => !isOfForeignKey(name))
    const keys = others.length < faults.length ? await foreignKeys(patient) : []
    return [...others.map((fault) => told(fault, patient)), ...keys]
  },
}

/** PostgreSQL's own name for the triggers that a foreign key puts on the table that it points to. */
function isOfForeignKey(name: string): boolean {
  return name.startsWith('RI_ConstraintTrigger')
}

async function foreignKeys(patient: Patient): Promise<Diagnosis[]> {
  const rows = await patient.ask<{ name: string; tableName: string }>('foreign_keys')
  return rows.map(({ name, tableName }) => ({
    status: 'note',
    message: `foreign key ${name} of table ${tableName} looks at every job that is deleted: ${consequence}`,
    remedy: `alter table ${tableName} drop constraint ${quoteIdentifier(name)};`,
    details: { name, table: tableName },
  }))
}

function told({ name, why }: TableFault, patient: Patient): Diagnosis {
  return {
    status: 'note',
    message: `${name} ${why}: ${consequence}`,
    remedy: remedies[why]?.(name, patient.qualified('job')) ?? null,
    details: { name, why },
  }
}

const consequence = 'no consumer opens an express lane; jobs run all the same, a backlog of very short ones more slowly'

/** By what the statement says of it. @param name - a table's is quoted already where need be */
const remedies: Readonly<Record<string, (name: string, job: string) => string>> = {
  'is a trigger that may keep or change rows': (name, job) =>
    `alter table ${job} disable trigger ${quoteIdentifier(name)};`,
  'is a rule of the table': (name, job) => `drop rule ${quoteIdentifier(name)} on ${job};`,
  'has row level security': (_, job) => `alter table ${job} disable row level security;`,
  'is a child of the table': (name, job) => `alter table ${name} no inherit ${job};`,
  'is a parent of the table': (name, job) => `alter table ${job} no inherit ${name};`,
  'stores the table, and its rows may move': (_, job) => `alter table ${job} set access method heap;`,
}
