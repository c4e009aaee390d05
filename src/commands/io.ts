// What the registry's commands get and share: where the registry lies, who acts, how a change is seen to be
// recorded, and how a refusal becomes a sentence (PROTOCOL section 12). It knows no command.
import { existsSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import type { Clock } from '../base/clock.ts'
import { checkOperator, type OperatorRole } from '../registry/operators.ts'
import { openRegistry, type RegistryDb, RegistryError } from '../registry/schema.ts'
import { type CommandContext, exit } from './context.ts'

export { exit }

export type CommandIo = {
  out(line: string): void
  err(line: string): void
  dataDir: string
  clock: Clock
  /** Who says to act, not yet checked. */
  operator: { name: string; secret: string } | undefined
  /** True once the ledger has the entry of change `seq`; false if that did not come within 5 s. */
  waitForEntry(seq: number): Promise<boolean>
}

export const entryWaitMs = 5000
const entryLookMs = 100

/** `cli.ts` hands over its context, tests a CommandIo: both come out as the latter. */
export function ioOf(given: CommandIo | CommandContext): CommandIo {
  if ('waitForEntry' in given) return given
  const { out, err, dataDir, clock, config } = given
  const { OPERATOR_NAME: name, OPERATOR_SECRET: secret } = config
  const operator = name === '' ? undefined : { name, secret }
  const waitForEntry = (seq: number) => waitForLedger(join(dataDir, 'ledger.db'), seq)
  return { out, err, dataDir, clock, operator, waitForEntry }
}

/** Looks into the embedded ledger until it has the entry of `seq`, at most 5 s; none if no ledger is there. */
async function waitForLedger(file: string, seq: number): Promise<boolean> {
  for (let waitedMs = 0; existsSync(file) && waitedMs < entryWaitMs; waitedMs += entryLookMs) {
    if (hasEntry(file, seq)) return true
    await sleep(entryLookMs)
  }
  return false
}

function hasEntry(file: string, seq: number): boolean {
  const ledger = new DatabaseSync(file, { readOnly: true, timeout: 1000 })
  try {
    const made = ledger.prepare("select 1 from sqlite_master where type = 'table' and name = 'acts'").get()
    return made !== undefined && ledger.prepare('select 1 from acts where seq = ?').get(seq) !== undefined
  } finally {
    ledger.close()
  }
}

/** A fault in how a command was written: exit code 64, with the way to its help. */
export class UsageError extends Error {}

type Options = NonNullable<ParseArgsConfig['options']>

/** parseArgs, whose complaints (unknown option, missing value) become UsageError. */
export function parseCommand<const T extends Options>(args: string[], options: T) {
  try {
    return parseArgs({ args, allowPositionals: true, options })
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message, { cause: error })
    throw error
  }
}

/** Runs `work`; a usage fault or refusal of the registry becomes a sentence and its exit code. */
export async function runCommand(io: CommandIo, name: string, work: () => Promise<number>): Promise<number> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof UsageError) {
      io.err(`${error.message} See "vouchsafe ${name} --help".`)
      return exit.usage
    }
    if (error instanceof RegistryError) {
      io.err(error.message)
      return exit.refused
    }
    throw error
  }
}

/** Opens the registry for one command. Only the first operator makes it: a wrong folder must not seem empty. */
export async function withRegistry(
  io: CommandIo,
  work: (db: RegistryDb) => Promise<number>,
  absent: 'refuse' | 'make' = 'refuse',
): Promise<number> {
  const file = join(io.dataDir, 'registry.db')
  if (absent === 'make') mkdirSync(io.dataDir, { recursive: true, mode: 0o700 })
  else if (!existsSync(file)) {
    throw new RegistryError(
      `There is no registry at ${file}. Set VOUCHSAFE_DATA to the gateway's folder, or begin with ` +
        '"vouchsafe operator add NAME --role admin".',
    )
  }
  const db = await openRegistry(file)
  try {
    return await work(db)
  } finally {
    await db.destroy()
  }
}

/** Name of the admin who acts, secret and role checked. Throws RegistryError with the fix. */
export const actingAdmin = (db: RegistryDb, io: CommandIo) => actingOperator(db, io, ['admin'])

/** Name of the operator who acts, secret checked and role one of `roles`. Throws RegistryError with the fix. */
export async function actingOperator(
  db: RegistryDb,
  io: CommandIo,
  roles: readonly OperatorRole[],
): Promise<string> {
  if (!io.operator) {
    throw new RegistryError(
      'Who acts? Set OPERATOR_NAME and OPERATOR_SECRET; "vouchsafe operator list" shows the names.',
      'operator unknown',
    )
  }
  const { name, secret } = io.operator
  const operator = await checkOperator(db, name, secret)
  if (!operator) {
    throw new RegistryError(
      `OPERATOR_NAME = ${JSON.stringify(name)} and OPERATOR_SECRET do not belong together. ` +
        'Set both as "vouchsafe operator add" showed them.',
      'operator unknown',
    )
  }
  if (!roles.includes(operator.role)) {
    const needed = roles.join(' or ')
    throw new RegistryError(
      `Operator "${name}" has role ${operator.role}; this needs ${needed}. Set OPERATOR_NAME to one who has it.`,
      'role not allowed',
    )
  }
  return operator.name
}

/** True once the ledger has the entry of change `seq`; false if that did not come, or cannot be told, within 5 s. */
export async function isRecorded(io: CommandIo, seq: number): Promise<boolean> {
  const late = new AbortController()
  const recorded = await Promise.race([
    // If the ledger cannot be looked into, the entry is pending as far as we can tell.
    io.waitForEntry(seq).catch(() => false),
    sleep(entryWaitMs, false, { signal: late.signal }).catch(() => false), // Aborted below: nothing to tell.
  ])
  late.abort()
  return recorded
}

/** Waits at most 5 s for the ledger's entry and says what came of it. The change is in force either way. */
export async function sayRecorded(io: CommandIo, seq: number): Promise<void> {
  io.out(
    (await isRecorded(io, seq))
      ? `Change ${seq} is in force and recorded in the ledger.`
      : `Change ${seq} is in force; its ledger entry is still pending. A running gateway ("npm start") writes it.`,
  )
}
