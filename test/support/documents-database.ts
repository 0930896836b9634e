import postgres from 'postgres'
import { inject, onTestFinished } from 'vitest'
import { createBugle } from '../../src/index.js'

/** The tables that the documents' programs take for granted. */
const tables = `
  create table account (name text);
  create table invoice (account text);
  create table customer (email text);
  insert into customer values ('ada@example.org'), ('grace@example.org')`

let made = 0
let template: Promise<string> | undefined

/**
 * A database of its own, since the documents' programs use the schema 'bugle'. It is dropped after the test.
 *
 * @param content - 'empty': without our tables; 'migrated': a copy of one that was migrated once
 */
export async function documentsDatabase(content: 'empty' | 'migrated'): Promise<string> {
  if (content === 'migrated') template ??= migratedTemplate()
  const name = await createDatabase(content === 'migrated' ? ((await template) ?? '') : 'template0')
  onTestFinished(() => run(inject('connectionString'), `drop database ${name} with (force)`))
  return urlOf(name)
}

/** It stays as long as the server, which the tests' project starts for itself. */
async function migratedTemplate(): Promise<string> {
  const name = await createDatabase('template0')
  const bugle = createBugle({ connectionString: urlOf(name) })
  await bugle.migrate()
  await bugle.close()
  await run(urlOf(name), tables)
  // A session whose client has gone may be there for a moment, and nobody could copy the database.
  await run(
    inject('connectionString'),
    `alter database ${name} allow_connections false;
     select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = '${name}'`,
  )
  return name
}

async function createDatabase(from: string): Promise<string> {
  made += 1
  const name = `documents_${process.pid}_${made}`
  await run(inject('connectionString'), `create database ${name} template ${from}`)
  return name
}

function urlOf(name: string): string {
  const url = new URL(inject('connectionString'))
  url.pathname = `/${name}`
  return url.href
}

async function run(connectionString: string, text: string): Promise<void> {
  const sql = postgres(connectionString, { max: 1, onnotice: () => {} })
  await sql.unsafe(text)
  await sql.end()
}
