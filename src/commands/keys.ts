// `vouchsafe keys`: what the keyring holds, and the destruction of keys past their life (PROTOCOL section 3).
import type { DatabaseSync } from 'node:sqlite'
import { dayMs } from '../base/clock.ts'
import { parseDecimal } from '../base/text.ts'
import {
  type Acts,
  type DestructionAct,
  DestructionError,
  destroyKeys,
  type Outcome,
  unfinished,
} from '../keys/destruction.ts'
import { liveHolders } from '../keys/holders.ts'
import { endOfLife, type KindName, kindOf } from '../keys/kinds.ts'
import { openKeyringFile, readKeys } from '../keys/store.ts'
import { countTargets, findDue, printTargets } from '../keys/targets.ts'
import { entryType } from '../ledger/entry.ts'
import { change, changesAfter, seqOfChange } from '../registry/changes.ts'
import { type RegistryDb, RegistryError } from '../registry/schema.ts'
import type { CommandContext } from './context.ts'
import { actingAdmin, exit, ioOf, parseCommand, runCommand, UsageError, withRegistry } from './io.ts'
import { isActRecorded, type KeysIo, keyringFileOf } from './row.ts'

const help = `vouchsafe keys: the keyring

  vouchsafe keys list                        kind, epoch, KEK version and life of each key; no key bytes
  vouchsafe keys destroy --dry-run           what is due
  vouchsafe keys destroy                     destroys it, once a day
  vouchsafe keys destroy --retention-days 365 --wait-seconds 300

Due are record and tag keys of days that ended RETENTION_DAYS ago, and recipient keys a day after their epoch. Their
destruction is an entry in the ledger; then a new KEK is made beside the old, every running gateway loads it, all
other keys are wrapped under it, and the old one is erased: no backup of the keyring from before can be opened any
more. A run that was stopped, or that waited in vain for --wait-seconds (120), is resumed by the next.
Copies of the old kek-<version>.key elsewhere (backups, other machines) must be erased by whoever made them.
Who destroys is an admin, named by OPERATOR_NAME and OPERATOR_SECRET; a gateway must run to write the entry.`

const options = {
  help: { type: 'boolean' },
  'dry-run': { type: 'boolean' },
  'retention-days': { type: 'string' },
  'wait-seconds': { type: 'string' },
} as const

/** What these commands need beside the keyring: how long private rows are kept. */
export type RetainingIo = KeysIo & { retentionDays: number }

const retentionDaysMax = 36_500
const waitSecondsMax = 3600
const waitSecondsDefault = 120

/** @returns exit code: 0 done or nothing due, 1 refused or to be resumed, 64 usage */
export async function runKeys(args: string[], given: RetainingIo | CommandContext): Promise<number> {
  const retentionDays = 'config' in given ? given.config.RETENTION_DAYS : given.retentionDays
  const io: RetainingIo = { ...ioOf(given), certsDir: given.certsDir, retentionDays }
  return runCommand(io, 'keys', async () => {
    const { values, positionals } = parseCommand(args, options)
    const [verb, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    const days = parseWithin(values['retention-days'], '--retention-days', [1, retentionDaysMax])
    const seconds = parseWithin(values['wait-seconds'], '--wait-seconds', [0, waitSecondsMax])
    const asked = { ...io, retentionDays: days ?? retentionDays }
    if (verb === 'list' && more.length === 0) return list(asked)
    if (verb === 'destroy' && more.length === 0) {
      if (values['dry-run']) return foretell(asked)
      return destroy(asked, (seconds ?? waitSecondsDefault) * 1000)
    }
    io.err(help)
    return exit.usage
  })
}

function parseWithin(text: string | undefined, name: string, [min, max]: [number, number]) {
  if (text === undefined) return undefined
  const value = parseDecimal(text)
  if (value !== undefined && value >= min && value <= max) return value
  throw new UsageError(
    `${name} ${JSON.stringify(text)} is not accepted: give a number from ${min} to ${max}.`,
  )
}

async function withKeyring(io: KeysIo, work: (db: DatabaseSync) => void): Promise<number> {
  const db = openKeyringFile(keyringFileOf(io))
  try {
    work(db)
    return exit.ok
  } finally {
    db.close()
  }
}

const dateOf = (ms: number) => new Date(ms).toISOString().slice(0, 16).replace('T', ' ')

function list(io: RetainingIo): Promise<number> {
  return withKeyring(io, (db) => {
    io.out('kind\tepoch\tkek\tfrom (UTC)\tends (UTC)')
    for (const { kind, epoch, kek_version } of readKeys(db)) {
      const from = epoch * kindOf(kind as KindName).lengthMs
      const end = endOfLife(kind as KindName, epoch, io.retentionDays * dayMs)
      io.out([kind, epoch, kek_version, dateOf(from), dateOf(end)].join('\t'))
    }
    for (const { node, kekVersion, seenAtMs } of liveHolders(db, io.clock.now())) {
      io.out(`gateway ${node} holds KEK version ${kekVersion}, seen ${dateOf(seenAtMs)}`)
    }
    sayUnfinished(io, db)
  })
}

function sayUnfinished(io: KeysIo, db: DatabaseSync): void {
  const begun = unfinished(db)
  if (!begun) return
  const since = dateOf(begun.begunAtMs)
  io.out(
    `A destruction begun ${since} is not done (${begun.state}): ${printTargets(begun.targets)}. ` +
      'Resume it with "vouchsafe keys destroy".',
  )
}

function foretell(io: RetainingIo): Promise<number> {
  return withRegistry(io, async (registry) => {
    await actingAdmin(registry, io)
    return withKeyring(io, (db) => {
      sayUnfinished(io, db)
      const { retentionDays } = io
      const due = findDue(db, { nowMs: io.clock.now(), retentionMs: retentionDays * dayMs })
      const count = countTargets(due)
      io.out(
        count === 0
          ? `Nothing is due with a retention of ${retentionDays} days.`
          : `${count} keys are due with a retention of ${retentionDays} days: ${printTargets(due)}`,
      )
    })
  })
}

function destroy(io: RetainingIo, waitMs: number): Promise<number> {
  return withRegistry(io, async (db) => {
    const operator = await actingAdmin(db, io)
    const { clock, retentionDays } = io
    const begun = { file: keyringFileOf(io), kekDirectory: io.certsDir, clock, retentionDays, waitMs }
    try {
      return report(io, await destroyKeys({ ...begun, acts: actsOf(io, db, operator), say: io.out }))
    } catch (error) {
      if (!(error instanceof DestructionError)) throw error
      throw new RegistryError(error.message)
    }
  })
}

/** The acts of destructions in the registry, and their entries in the ledger. */
function actsOf(io: KeysIo, db: RegistryDb, operator: string): Acts {
  const kind = 'destruction'
  return {
    find: (id) => seqOfChange(db, { kind, subject: id }),
    async write(id, said: DestructionAct) {
      const act = { act: 'keys.destroy', destruction: id, ...said }
      const described = () => ({ kind, subject: id, operator, nowMs: io.clock.now(), act }) as const
      return (await change(db, described, async () => {})).seq
    },
    async isEntered(seq) {
      const [written] = await changesAfter(db, seq - 1, 1)
      if (written?.seq !== seq) return false
      return isActRecorded(io, { seq, type: entryType.destruction, act: written.act })
    },
  }
}

function report(io: RetainingIo, outcome: Outcome): number {
  switch (outcome.end) {
    case 'nothing due':
      io.out(`Nothing is due with a retention of ${io.retentionDays} days; nothing was changed.`)
      return exit.ok
    case 'entry pending':
      io.err(
        `No key was touched: the entry of this destruction (change ${outcome.seq}) is not in the ledger yet. ` +
          'A running gateway ("npm start") writes it; then run this again.',
      )
      return exit.refused
    case 'gateways pending': {
      const names = outcome.missing.map(({ node, kekVersion }) => `${node} (has ${kekVersion})`).join(', ')
      io.err(
        `No key was destroyed yet: KEK version ${outcome.kekVersion} is not loaded by ${names}. ` +
          'If it reads another folder, copy the file there; if it is gone, it counts for 3 minutes. Run this again.',
      )
      return exit.refused
    }
    case 'done': {
      const { targets, kekVersion, seq } = outcome.destruction
      io.out(`Destroyed: ${printTargets(targets)}`)
      io.out(
        `All other keys are under KEK version ${kekVersion}; the earlier versions are erased in ${io.certsDir}.`,
      )
      io.out(
        `Recorded in the ledger as change ${seq}. Make a new backup of the keyring: older ones open nothing.`,
      )
      if (outcome.moreDue > 0) io.out(`${outcome.moreDue} more keys are due: run this again.`)
      return exit.ok
    }
  }
}
