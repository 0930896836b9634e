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

/**
 * A database of its own, since the documents' programs use the schema 'bugle'. It is dropped after the test.
 *
 * @param content - 'empty': without our tables
 */
export async function documentsDatabase(content: 'empty' | 'migrated'): Promise<string> {
  const connectionString = inject('connectionString')
  made += 1
  const name = `documents_${process.pid}_${made}`
  await once(connectionString, `create database ${name} template template0`)
  onTestFinished(() => once(connectionString, `drop database ${name} with (force)`))
  const url = new URL(connectionString)
  url.pathname = `/${name}`
  if (content === 'migrated') {
    const bugle = createBugle({ connectionString: url.href })
    await bugle.migrate()
    await bugle.close()
    await once(url.href, tables)
  }
  return url.href
}

async function once(connectionString: string, text: string): Promise<void> {
  const sql = postgres(connectionString, { max: 1, onnotice: () => {} })
  await sql.unsafe(text)
  await sql.end()
}
