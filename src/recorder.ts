// Appends an entry for every change of the registry, exactly once: the ledger keeps each change's seq under
// a unique key, so a repeat after a crash or by another process finds the standing entry (PROTOCOL section 12).
import { limits } from './base/limits.ts'
import { entryType, openRow, parsePrivateAct } from './ledger/entry.ts'
import type { RecordKeyOf } from './ledger/issue.ts'
import type { Ledger } from './ledger/ledger.ts'
import { type Change, changesAfter } from './registry/changes.ts'
import { type RegistryDb, RegistryError } from './registry/schema.ts'

/** Entry types of PROTOCOL section 9. */
const kindOf = {
  device: entryType.device,
  carrier: entryType.carrier,
  // What a carrier holds is the carrier's: the act says which.
  certificate: entryType.carrier,
  token: entryType.carrier,
  operator: entryType.operator,
  key: entryType.key,
  destruction: entryType.destruction,
  disclosure: entryType.disclosure,
} as const satisfies Record<Change['kind'], number>
const pageMax = 500
/** Changes that are held against the ledger at the start, the last that it recorded and those before it. */
const comparedMax = 300

/**
 * The registry has the last changes that the ledger recorded, word for word. One that was put back from an older
 * backup counts on from numbers that the ledger has: its next changes would never be recorded, and what was revoked
 * since would be back in force. What the registry has no more, but for the last, and what nobody
 * can open any more is not compared.
 * @throws RegistryError
 */
export async function assertRecorded(options: {
  db: RegistryDb
  ledger: Pick<Ledger, 'lastSeq' | 'entryOfSeq' | 'readPrivate'>
  recordKeyOf: RecordKeyOf
}): Promise<void> {
  const { db, ledger, recordKeyOf } = options
  const last = await ledger.lastSeq()
  if (last === 0) return
  const readAct = prepareActs(ledger, recordKeyOf)
  const found = await changesAfter(db, Math.max(0, last - comparedMax), comparedMax)
  const changes = found.filter(({ seq }) => seq <= last)
  if (changes.at(-1)?.seq !== last) throw otherRegistry(last, 'the last that was recorded, is missing')
  for (const { seq, act } of changes.reverse()) {
    const recorded = await readAct(seq)
    if (recorded === undefined || recorded === act) continue
    throw otherRegistry(
      seq,
      `${seq === last ? 'the last that was recorded' : `of ${last} recorded`}, is another one`,
    )
  }
}

const otherRegistry = (seq: number, what: string) =>
  new RegistryError(
    `The registry is not the one whose changes are in the ledger: change ${seq}, ${what} here. It was put back from ` +
      'an older backup, or is of another gateway. Fix: put back a registry.db that is as new as the ledger.',
  )

/** Reads recorded acts by their seq; undefined where one cannot be read any more: its key is past its life. */
function prepareActs(ledger: Pick<Ledger, 'entryOfSeq' | 'readPrivate'>, recordKeyOf: RecordKeyOf) {
  const keys = new Map<number, ReturnType<RecordKeyOf>>()
  return async (seq: number): Promise<string | undefined> => {
    const row = ledger.readPrivate((await ledger.entryOfSeq(seq)) ?? -1)
    if (!row) return undefined
    const asked = keys.get(row.day) ?? recordKeyOf(row.day)
    keys.set(row.day, asked)
    const key = await asked
    const plain = key && openRow(key, row.day, row.blob)
    return plain && parsePrivateAct(plain)?.act
  }
}

/** Follows the change feed from the last recorded seq until closed. */
export function appendChanges(options: {
  db: RegistryDb
  ledger: Pick<Ledger, 'append' | 'lastSeq'>
  registry: { onChange(listener: (change: Change) => void): () => void }
  onError: (cause: unknown) => void
}): { close(): Promise<void> } {
  const { db, ledger, registry, onError } = options
  let last: number | undefined
  let running: Promise<void> | undefined

  async function recordDue(): Promise<void> {
    last ??= await ledger.lastSeq()
    for (;;) {
      const changes = await changesAfter(db, last, pageMax)
      // If we die in here, the entries appended so far stand, and the rest is found again from lastSeq.
      for (const change of changes) {
        await ledger.append({ type: 'act', kind: kindOf[change.kind], act: change.act, seq: change.seq })
        last = change.seq
      }
      if (changes.length < pageMax) return
    }
  }

  function wake(): void {
    running ??= recordDue()
      .catch(onError)
      .finally(() => {
        running = undefined
      })
  }

  const stop = registry.onChange(wake)
  const timer = setInterval(wake, limits.registryPollMs * 4).unref() // Again after a failure.
  wake()
  return {
    async close() {
      stop()
      clearInterval(timer)
      await running
    },
  }
}
