// What every command gets: where things lie, who acts, and how a change is seen to be recorded.
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Clock } from '../base/clock.ts'
import type { Config } from '../base/config.ts'
import { checkOperator, listOperators } from '../registry/operators.ts'
import { openRegistry, type RegistryDb, RegistryError } from '../registry/schema.ts'

export type CommandContext = {
  config: Config
  clock: Clock
  dataDir: string
  certsDir: string
  out(line: string): void
  err(line: string): void
}

export const exit = { ok: 0, refused: 1, usage: 64 } as const

export function createCommandIo(given: {
  config: Config
  clock: Clock
  out(line: string): void
  err(line: string): void
}): CommandContext {
  const { config } = given
  return { ...given, dataDir: config.VOUCHSAFE_DATA, certsDir: config.VOUCHSAFE_CERTS }
}

/** Opens the registry for one command. What it refuses becomes a sentence and exit code 1. */
export async function withRegistry(
  io: CommandContext,
  work: (db: RegistryDb) => Promise<number>,
): Promise<number> {
  const db = await openRegistry(join(io.dataDir, 'registry.db'))
  try {
    return await work(db)
  } catch (error) {
    if (!(error instanceof RegistryError)) throw error
    io.err(error.message)
    return exit.refused
  } finally {
    await db.destroy()
  }
}

/** The named operator who acts. Throws RegistryError with the fix; the very first needs none. */
export async function actingOperator(db: RegistryDb, io: CommandContext): Promise<string> {
  const { OPERATOR_NAME: name, OPERATOR_SECRET: secret } = io.config
  const operator = name === '' ? undefined : await checkOperator(db, name, secret)
  if (operator?.role === 'admin') return operator.name
  if (operator) throw new RegistryError(`Operator "${name}" has role ${operator.role}; this needs admin.`)
  throw new RegistryError(
    name === ''
      ? 'Who acts? Set OPERATOR_NAME and OPERATOR_SECRET; "vouchsafe operator list" shows the names.'
      : `OPERATOR_NAME = "${name}" and OPERATOR_SECRET do not belong together.`,
  )
}

export const hasOperators = async (db: RegistryDb) => (await listOperators(db)).length > 0

const waitMs = 5000
const lookMs = 100

/** Waits at most 5 s for the ledger's entry of a change, and says what came of it. */
export async function sayRecorded(io: CommandContext, seq: number): Promise<void> {
  const file = join(io.dataDir, 'ledger.db')
  const until = io.clock.mono() + waitMs
  while (existsSync(file) && io.clock.mono() < until) {
    const index = entryOf(file, seq)
    if (index !== undefined) {
      io.out(`Change ${seq} is recorded in the ledger as entry ${index}.`)
      return
    }
    await sleep(lookMs)
  }
  io.out(`Change ${seq} is in force; its ledger entry is pending until a gateway runs ("npm start").`)
}

function entryOf(file: string, seq: number): number | undefined {
  const db = new DatabaseSync(file, { readOnly: true, timeout: 1000 })
  try {
    const row = db.prepare('select idx from acts where seq = ?').get(seq)
    return row && Number(row['idx'])
  } finally {
    db.close()
  }
}
