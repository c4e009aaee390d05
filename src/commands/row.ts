// Rows of the embedded ledger, opened with the keyring for a command, and whether an act stands there as it was
// written (PROTOCOL sections 3, 9). It decides nothing about who may look: `ledger show` does.
import type { KeyObject } from 'node:crypto'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { destructionOf } from '../keys/destruction.ts'
import { loadKeks } from '../keys/kek.ts'
import { importKey, openKeyringFile, readKeys } from '../keys/store.ts'
import { hashAct, openRow, parseEntry, parsePrivateAct } from '../ledger/entry.ts'
import { prepareReader } from '../ledger/reader.ts'
import { openLedgerReader } from '../ledger/sqlite.ts'
import { RegistryError } from '../registry/schema.ts'
import { type CommandIo, isRecorded } from './io.ts'

/** What a command needs that opens keys: the keyring is in `dataDir`, its KEK in `certsDir`. */
export type KeysIo = CommandIo & { certsDir: string }

export type LedgerReader = ReturnType<typeof prepareReader>

/** Runs `work` over the ledger's file. Throws RegistryError if there is none: a wrong folder must not seem empty. */
export async function withLedger<T>(io: CommandIo, work: (ledger: LedgerReader) => Promise<T>): Promise<T> {
  const file = join(io.dataDir, 'ledger.db')
  if (!existsSync(file)) {
    throw new RegistryError(`There is no ledger at ${file}. Set VOUCHSAFE_DATA to the gateway's folder.`)
  }
  const db = openLedgerReader(file)
  try {
    return await work(prepareReader(db))
  } finally {
    db.close()
  }
}

/** Throws RegistryError if the keyring is not there: opening it would make one. */
export function keyringFileOf(io: CommandIo): string {
  const file = join(io.dataDir, 'keyring.db')
  if (existsSync(file)) return file
  throw new RegistryError(`There is no keyring at ${file}. Set VOUCHSAFE_DATA to the gateway's folder.`)
}

type Sealed = { day: number; blob: Buffer }

/** Why a private row is not opened; `absent`: its day's key was never in this keyring. */
export type Unopened = 'destroyed' | 'absent' | 'altered'

/** The plain text of a private row. */
export function openBlob(io: KeysIo, { day, blob }: Sealed): { plain: Buffer } | { why: Unopened } {
  const record = recordKey(io, day)
  if (typeof record === 'string') return { why: record }
  const plain = openRow(record, day, blob)
  return plain ? { plain } : { why: 'altered' }
}

function recordKey(io: KeysIo, day: number): KeyObject | 'destroyed' | 'absent' {
  const db = openKeyringFile(keyringFileOf(io))
  const of = { kind: 'record', epoch: day } as const
  const read = () => {
    const [row] = readKeys(db, of)
    if (row) return importKey(loadKeks(io.certsDir), row)
    return destructionOf(db, of) ? 'destroyed' : 'absent'
  }
  try {
    return read()
  } catch {
    return read() // A destruction may have wrapped it anew between row and KEK; else this throws the same.
  } finally {
    db.close()
  }
}

/**
 * True once the ledger's entry of change `seq` is durable and says exactly `act`. A registry restored from a backup
 * counts on from a number that the ledger had before, for something else.
 */
export async function isActRecorded(
  io: KeysIo,
  change: { seq: number; type: number; act: string },
): Promise<boolean> {
  if (!(await isRecorded(io, change.seq))) return false
  return withLedger(io, async (ledger) => {
    const index = ledger.indexOfSeq(change.seq)
    if (index === undefined) return false
    const data = ledger.readEntry(index)?.data
    const entry = data && parseEntry(data)
    const row = ledger.readPrivate(index)
    if (!row || entry?.type !== change.type || !entry.actHash) return false
    const opened = openBlob(io, row)
    const said = 'plain' in opened ? parsePrivateAct(opened.plain) : undefined
    return said?.act === change.act && hashAct(said.act, said.blind).equals(entry.actHash)
  })
}
