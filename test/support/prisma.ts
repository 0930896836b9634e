import { execFile } from 'node:child_process'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { promisify } from 'node:util'
import type { PrismaPg } from '@prisma/adapter-pg'

const require = createRequire(import.meta.url)

/** What tests use of a generated client without models: its types are generated too, and not there for tsc. */
export interface PrismaClient extends PrismaTransactionClient {
  $connect(): Promise<void>
  $disconnect(): Promise<void>
  $transaction<T>(
    run: (tx: PrismaTransactionClient) => Promise<T>,
    options?: { timeout?: number; maxWait?: number },
  ): Promise<T>
}

export interface PrismaTransactionClient {
  $queryRawUnsafe<T = unknown>(query: string, ...values: unknown[]): Promise<T>
  $executeRawUnsafe(query: string, ...values: unknown[]): Promise<number>
}

type PrismaClientClass = new (options: { adapter: PrismaPg }) => PrismaClient

const schema = `
generator client {
  provider = "prisma-client-js"
  output   = "./client"
}

datasource db {
  provider = "postgresql"
}
`

/** The class of Prisma's generated client; the first call on a machine generates it, which takes some seconds. */
export async function loadPrisma(): Promise<PrismaClientClass> {
  const manifest = require.resolve('prisma/package.json')
  const { version } = require(manifest) as { version: string }
  // Beside the packages: the generated code imports one of Prisma's. Ignored by git, and gone with `npm ci`.
  const made = join(dirname(manifest), '..', '.cache', `bugle-prisma-${version}`)
  const entry = join(made, 'client', 'index.js')
  try {
    require.resolve(entry)
  } catch {
    await generate(made)
  }
  return (require(entry) as { PrismaClient: PrismaClientClass }).PrismaClient
}

async function generate(made: string): Promise<void> {
  const folder = `${made}-${process.pid}`
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, 'schema.prisma'), schema)
  await promisify(execFile)(process.execPath, [require.resolve('prisma/build/index.js'), 'generate'], {
    cwd: folder,
    env: {
      ...process.env,
      CHECKPOINT_DISABLE: '1',
      // Only migrations need the schema engine. Without a path to one it would be downloaded first; this is never run.
      PRISMA_SCHEMA_ENGINE_BINARY: process.execPath,
    },
  })
  try {
    // In one step: another process may generate at the same time, or load what is there.
    renameSync(folder, made)
  } catch (error) {
    rmSync(folder, { recursive: true })
    const { code } = error as NodeJS.ErrnoException
    if (code !== 'ENOTEMPTY' && code !== 'EEXIST') throw error
  }
}
