// `vouchsafe ledger`: opens one private row for a named operator, which is an entry itself, and checks the whole
// ledger (PROTOCOL section 9). Nothing is opened before the entry that says so is durable.
import { printBase64url, sha256 } from '../base/bytes.ts'
import { dayMs } from '../base/clock.ts'
import { parseDecimal } from '../base/text.ts'
import { refusal as cardRefusals } from '../card/refusal.ts'
import {
  type Entry,
  entryType,
  hashAct,
  hashJti,
  hashWho,
  parseEntry,
  parsePrivate,
  parsePrivateAct,
} from '../ledger/entry.ts'
import { leafHash } from '../ledger/hash.ts'
import { change, changesAfter } from '../registry/changes.ts'
import { isLabel, type RegistryDb, RegistryError } from '../registry/schema.ts'
import { answerCode, refusalOfResult } from '../verify/outcome.ts'
import type { CommandContext } from './context.ts'
import { actingOperator, exit, ioOf, parseCommand, runCommand, UsageError, withRegistry } from './io.ts'
import { isActRecorded, type KeysIo, type LedgerReader, openBlob, type Unopened, withLedger } from './row.ts'

const help = `vouchsafe ledger: what the ledger holds

  vouchsafe ledger show 4711 --reason "court order 2026-118"      opens the private row of entry 4711
  vouchsafe ledger fsck                                           checks every entry, tile and signature

show needs an operator of role admin or auditor, named by OPERATOR_NAME and OPERATOR_SECRET, and a reason of 1 to
100 characters. It writes an entry of its own that names operator, index and reason, waits until a running gateway
has made it durable, and shows nothing before. Rows older than RETENTION_DAYS are destroyed and cannot be shown.`

/** @returns exit code: 0 done, 1 refused or not to be opened, 64 usage; those of fsck are its own */
export async function runLedger(args: string[], given: KeysIo | CommandContext): Promise<number> {
  if (args[0] === 'fsck' && 'config' in given) {
    const { runFsck } = await import('./fsck.ts')
    return runFsck(args.slice(1), given)
  }
  const io: KeysIo = { ...ioOf(given), certsDir: given.certsDir }
  return runCommand(io, 'ledger', async () => {
    const { values, positionals } = parseCommand(args, {
      help: { type: 'boolean' },
      reason: { type: 'string' },
    })
    const [verb, index, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    if (verb === 'show' && index !== undefined && more.length === 0) return show(io, index, values.reason)
    io.err(help)
    return exit.usage
  })
}

function show(io: KeysIo, text: string, reason: string | undefined): Promise<number> {
  const index = parseDecimal(text)
  if (index === undefined) {
    throw new UsageError(`${JSON.stringify(text)} is no index: give a number from 0 without leading zeros.`)
  }
  if (reason === undefined) throw new UsageError('--reason is missing: say in 1 to 100 characters why.')
  if (!isLabel(reason)) {
    throw new UsageError('--reason must be 1 to 100 characters, none of them a control character.')
  }
  return withRegistry(io, async (db) => {
    const operator = await actingOperator(db, io, ['admin', 'auditor'])
    return withLedger(io, async (ledger) => {
      const size = ledger.size()
      if (index >= size) {
        throw new RegistryError(`Entry ${index} is not there: the ledger has ${size} entries, from 0.`)
      }
      const act = await disclose(db, { index, reason, operator, nowMs: io.clock.now() })
      // Dying or failing before this is true: the entry may come, nothing was shown.
      if (!(await isActRecorded(io, act))) {
        io.err(
          `Nothing is shown: the entry of this disclosure (change ${act.seq}) is not in the ledger yet. ` +
            'A running gateway ("npm start") writes it; then ask again.',
        )
        return exit.refused
      }
      const code = print(io, ledger, index)
      io.out(row('disclosure', `entry ${ledger.indexOfSeq(act.seq)}, by ${operator}`))
      return code
    })
  })
}

/** Writes the act that becomes the entry of this disclosure. */
async function disclose(
  db: RegistryDb,
  given: { index: number; reason: string; operator: string; nowMs: number },
): Promise<{ seq: number; type: number; act: string }> {
  const { index, reason, operator, nowMs } = given
  const described = () => ({
    kind: 'disclosure' as const,
    subject: String(index),
    ...{ operator, nowMs },
    act: { act: 'ledger.show', index, reason },
  })
  const { seq } = await change(db, described, async () => {})
  const [written] = await changesAfter(db, seq - 1, 1)
  return { seq, type: entryType.disclosure, act: written?.act ?? '' }
}

const row = (name: string, value: string) => `${name.padEnd(12)}${value}`
const wordIn = (table: Readonly<Record<string, number>>, code: number) =>
  Object.keys(table).find((word) => table[word] === code) ?? String(code)
const bytesOrNone = (bytes: Buffer) => (bytes.every((byte) => byte === 0) ? 'none' : printBase64url(bytes))

const bureauWords = ['not_found', 'mismatch', 'card_not_current', 'alert', 'deceased'] as const
const refusalWords: Readonly<Record<string, number>> = {
  none: 0,
  ...cardRefusals,
  ...Object.fromEntries(bureauWords.map((word) => [word, refusalOfResult(word)])),
}

/** `R14 chip signature`: number and words of PROTOCOL section 7. */
export function printRefusal(code: number): string {
  if (code === 0) return 'none'
  const word = wordIn(refusalWords, code)
  const words = word.replaceAll('_', ' ').replaceAll(/[A-Z]/g, (letter) => ` ${letter.toLowerCase()}`)
  return `R${String(code).padStart(2, '0')} ${words === String(code) ? '(a number without words)' : words}`
}

/** Prints entry and private row. What fails to agree is said by name, and the exit code is 1. */
function print(io: KeysIo, ledger: LedgerReader, index: number): number {
  const stored = ledger.readEntry(index)
  const entry = stored && parseEntry(stored.data)
  const sealed = ledger.readPrivate(index)
  if (!entry || !sealed) {
    io.err(`Entry ${index} ${entry ? 'has no private row' : 'cannot be read'}. Run "vouchsafe ledger fsck".`)
    return exit.refused
  }
  io.out(row('entry', String(index)))
  io.out(row('type', wordIn(entryType, entry.type)))
  io.out(row('time', new Date(entry.timeMs).toISOString()))
  if (entry.answer !== undefined) io.out(row('answer', wordIn(answerCode, entry.answer)))
  const opened = openBlob(io, sealed)
  if ('why' in opened) return printUnopened(io, sealed.day, opened.why)
  const faults = leafHash(stored.data).equals(stored.leaf) ? [] : ['leaf']
  if (entry.privateHash && !sha256(sealed.blob).equals(entry.privateHash)) faults.push('private row')
  faults.push(...(entry.who ? printWho(io, entry, opened.plain) : printAct(io, entry, opened.plain)))
  const agree = faults.length === 0
  io.out(row('hashes', agree ? 'entry and row agree' : `ENTRY AND ROW DO NOT AGREE in: ${faults.join(', ')}`))
  return agree ? exit.ok : exit.refused
}

function printUnopened(io: KeysIo, day: number, why: Unopened): number {
  const date = new Date(day * dayMs).toISOString().slice(0, 10)
  const said = {
    destroyed: `The record key of ${date} is destroyed: this row cannot be opened any more, by anyone.`,
    absent: `The keyring has no record key of ${date}, and destroyed none. Is it the one of this ledger?`,
    altered: `The row does not open under the record key of ${date}: it was altered. Run "vouchsafe ledger fsck".`,
  }
  io.err(said[why])
  return exit.refused
}

/** @returns what does not agree with the entry */
function printWho(io: KeysIo, entry: Entry, plain: Buffer): string[] {
  const parsed = parsePrivate(plain)
  if (!parsed) return ['form of the row']
  const { refusal, who, transaction } = parsed
  io.out(row('refusal', printRefusal(refusal)))
  io.out(row('carrier', who.carrier))
  io.out(row('outlet', who.outlet))
  io.out(row('device', printBase64url(who.device)))
  io.out(row('courier', bytesOrNone(who.courier)))
  io.out(row('parcel', printBase64url(who.parcel)))
  io.out(row('jti', bytesOrNone(who.jti)))
  io.out(row('transaction', bytesOrNone(transaction)))
  const faults = entry.who && hashWho(who).equals(entry.who) ? [] : ['who']
  if (entry.jtiHash && !hashJti(who.jti).equals(entry.jtiHash)) faults.push('jti')
  return faults
}

/** @returns what does not agree with the entry */
function printAct(io: KeysIo, entry: Entry, plain: Buffer): string[] {
  const parsed = parsePrivateAct(plain)
  if (!parsed) return ['form of the row']
  io.out(row('act', parsed.act))
  return entry.actHash && hashAct(parsed.act, parsed.blind).equals(entry.actHash) ? [] : ['act']
}
