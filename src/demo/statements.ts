import { grantsFor, revokesFromPublic } from '../database/grants.js'
import { fillIn, readSql, statementsIn } from '../database/sql-files.js'

/** The SQL of `sql/demo/`, one statement per file. */
const names = [
  'jobs_left',
  'plain_create',
  'plain_insert',
  'result_create',
  'result_insert',
  'results',
  'roles_drop',
  'schema_create',
  'schema_drop',
  'server',
] as const

export type DemoStatementName = (typeof names)[number]
type DemoStatements = Readonly<Record<DemoStatementName, string>>

/** What the roles of a run are called: all of its own. */
export interface RoleNames {
  readonly producer: string
  readonly consumer: string
  readonly observer: string
}

/** What is made for a run. */
export interface DemoNames {
  /** The schema of the demo's own tables. */
  readonly own: string
  /** That of Bugle's. */
  readonly jobs: string
  /** null: the owner does everything. */
  readonly roles: RoleNames | null
}

/** Read every statement, with the names filled in. */
export function loadDemoStatements(demo: DemoNames): DemoStatements {
  const loaded = {} as Record<DemoStatementName, string>
  for (const name of names) loaded[name] = fillIn(readSql(`demo/${name}`), tokens(demo))
  return loaded
}

export function roleCreateText(role: string, password: string): string {
  return fillIn(readSql('demo/role_create'), { role, password })
}

/**
 * Everything that the roles are granted: of Bugle's tables what `bugle grants` prints, and of the demo's own what it
 * uses.
 */
export function grantTexts(demo: DemoNames, roles: RoleNames): readonly string[] {
  const { jobs } = demo
  const parts = [
    revokesFromPublic(jobs),
    grantsFor('producer', roles.producer, jobs),
    grantsFor('consumer', roles.consumer, jobs),
    grantsFor('observer', roles.observer, jobs),
  ]
  return [
    ...parts.flatMap(({ statements }) => statements),
    ...statementsIn(readSql('demo/grants')).map((text) => fillIn(text, tokens(demo))),
  ]
}

function tokens({ own, jobs, roles }: DemoNames): Record<string, string> {
  return { schema: own, jobs, ...roles }
}
