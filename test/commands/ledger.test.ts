// `vouchsafe ledger show`, as a person types it: nothing is shown before the entry that says so is durable.
import { renameSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { printBase64url } from '../../src/base/bytes.ts'
import { dayMs } from '../../src/base/clock.ts'
import { printRefusal, runLedger } from '../../src/commands/ledger.ts'
import { deriveJti, entryType, parseEntry } from '../../src/ledger/entry.ts'
import { changesAfter, headOfChanges } from '../../src/registry/changes.ts'
import { noon, sessionOf, verifyOf, written } from '../helpers/ledger.ts'
import { makePlace } from '../helpers/place.ts'

async function startTest(t: Test) {
  const place = await makePlace(t, noon)
  const show = (name: string, ...args: string[]) => place.type(runLedger, name, 'show', ...args)
  /** Writes to the ledger's file behind its back. */
  const alter = (...statement: [sql: string, ...values: (number | Uint8Array)[]]) => {
    const [sql, ...values] = statement
    const db = new DatabaseSync(join(place.dataDir, 'ledger.db'), { timeout: 1000 })
    db.prepare(sql).run(...values)
    db.close()
  }
  return { ...place, show, alter }
}

const columns = (lines: readonly string[]) =>
  Object.fromEntries(lines.map((line) => [line.slice(0, 12).trim(), line.slice(12)]))

t.test('an auditor sees what a verification says, and that becomes an entry of its own', async (t) => {
  const { show, startWriter, ledger, db } = await startTest(t)
  startWriter()
  const append = verifyOf({ answer: 2, refusal: 14, courier: Buffer.alloc(16, 9) })
  const { index } = written(await ledger.append(append))
  const { code, out, err } = await show('the-auditor', String(index), '--reason', '法院 order 2026-118')
  t.same({ code, err }, { code: 0, err: [] })
  const said = columns(out)
  const disclosure = Number(/^entry (\d+), by the-auditor$/.exec(said['disclosure'] ?? '')?.[1])
  t.same(said, {
    entry: String(index),
    type: 'verify',
    time: '2026-11-23T12:00:00.000Z',
    answer: 'no',
    refusal: 'R14 chip signature',
    carrier: 'swift-parcel',
    outlet: 'SH-0042',
    device: printBase64url(append.device),
    courier: printBase64url(append.courier),
    parcel: printBase64url(append.parcel),
    jti: printBase64url(deriveJti(append.digest)),
    transaction: printBase64url(append.transaction),
    hashes: 'entry and row agree',
    disclosure: `entry ${disclosure}, by the-auditor`,
  })
  t.equal(parseEntry(ledger.readEntry(disclosure)?.data as Buffer)?.type, entryType.disclosure)
  const [act] = (await changesAfter(db, 4, 10)).map((row) => JSON.parse(row.act))
  t.same(act, {
    ...{ act: 'ledger.show', index, reason: '法院 order 2026-118', operator: 'the-auditor' },
    at: noon,
  })
  const shown = columns((await show('the-admin', String(disclosure), '--reason', 'who looked?')).out)
  t.equal(shown['type'], 'disclosure')
  t.same(JSON.parse(shown['act'] ?? ''), act, 'and the disclosure can be shown itself')
})

t.test('every type of entry can be shown', async (t) => {
  const { show, startWriter, ledger } = await startTest(t)
  startWriter()
  const yes = written(await ledger.append(verifyOf()))
  const undecided = { type: 'undecided', answer: 3, transaction: Buffer.alloc(16) } as const
  const none = written(await ledger.append(verifyOf(undecided)))
  const session = written(await ledger.append(sessionOf('{"act":"session"}')))
  const of = async ({ index }: { index: number }) =>
    columns((await show('the-admin', String(index), '--reason', 'x')).out)
  t.match(await of(yes), { type: 'verify', answer: 'yes', refusal: 'none', courier: 'none' })
  t.match(await of(none), { type: 'undecided', answer: 'undecided', jti: 'none', transaction: 'none' })
  t.match(await of(session), { type: 'session', act: '{"act":"session"}', hashes: 'entry and row agree' })
})

t.test(
  'no entry, no showing: the act is written, nothing is printed, and the exit code says so',
  async (t) => {
    const { show, ledger, db } = await startTest(t)
    const { index } = written(await ledger.append(verifyOf()))
    const began = performance.now()
    const { code, out, err } = await show('the-admin', String(index), '--reason', 'x')
    t.ok(performance.now() - began < 6500)
    t.same({ code, out }, { code: 1, out: [] })
    t.match(err, [/^Nothing is shown: the entry of this disclosure \(change 5\) is not in the ledger yet/])
    t.equal(await headOfChanges(db), 5)
  },
)

t.test('an entry of that number which says something else shows nothing', async (t) => {
  const { show, ledger } = await startTest(t)
  // As after a registry restored from a backup: change 5 was another act once, and of another kind.
  const { index } = written(await ledger.append(verifyOf()))
  await ledger.append({ type: 'act', kind: 9, act: '{"act":"ledger.show","index":7}', seq: 5 })
  await ledger.append({ type: 'act', kind: 4, act: '{}', seq: 6 })
  for (const seq of [5, 6]) {
    const { code, out, err } = await show('the-admin', String(index), '--reason', 'x')
    t.match({ code, out, err }, { code: 1, out: [], err: [new RegExp(`^Nothing is shown: .*change ${seq}`)] })
  }
})

t.test('another role, a wrong secret and nobody are refused before anything is written', async (t) => {
  const { show, ledger, db } = await startTest(t)
  const { index } = written(await ledger.append(verifyOf()))
  const table: [name: string, said: RegExp][] = [
    ['the-reviewer', /has role reviewer; this needs admin or auditor/],
    ['the-metrics', /has role metrics; this needs admin or auditor/],
    ['mallory', /do not belong together/],
    ['', /^Who acts\?/],
  ]
  for (const [name, said] of table) {
    t.match(await show(name, String(index), '--reason', 'x'), { code: 1, out: [], err: [said] }, name)
  }
  t.equal(await headOfChanges(db), 4)
})

t.test('an index or reason of a wrong form is told, and writes nothing', async (t) => {
  const { show, type, ledger, db, dataDir } = await startTest(t)
  await ledger.append(verifyOf())
  const indices = ['01', '+1', '1.0', '1e3', '0x1', ' 1', '', 'one', '9007199254740992', '9'.repeat(400)]
  for (const index of indices) {
    const said = await show('the-admin', index, '--reason', 'x')
    t.match(said, { code: 64, out: [], err: [/is no index: give a number from 0/] }, index.slice(0, 20))
  }
  t.match(await show('the-admin', '-1', '--reason', 'x'), { code: 64, out: [] })
  t.match(await show('the-admin', '--reason', 'x', '--', '-1'), { code: 64, err: [/"-1" is no index/] })
  for (const index of ['1', '9007199254740991']) {
    const said = await show('the-admin', index, '--reason', 'x')
    t.match(said, { code: 1, out: [], err: [/is not there: the ledger has 1 entries/] })
  }
  for (const reason of ['', ' ', 'x'.repeat(101), 'a\nb', 'a\u0007b']) {
    t.match(await show('the-admin', '0', '--reason', reason), { code: 64, out: [] }, JSON.stringify(reason))
  }
  t.match(await show('the-admin', '0'), { code: 64, err: [/--reason is missing/] })
  t.match(await show('the-admin'), { code: 64, err: [/vouchsafe ledger show 4711 --reason/] })
  t.match(await show('the-admin', '0', '1', '--reason', 'x'), { code: 64 })
  t.match(await type(runLedger, 'the-admin'), { code: 64, err: [/vouchsafe ledger show/] })
  t.match(await type(runLedger, 'the-admin', '--help'), { code: 0, out: [/ledger fsck/] })
  t.equal(await headOfChanges(db), 4)
  renameSync(join(dataDir, 'ledger.db'), join(dataDir, 'away.db'))
  t.match(await show('the-admin', '0', '--reason', 'x'), { code: 1, err: [/There is no ledger at/] })
})

t.test('a row that was altered, and one of another entry, are told by name', async (t) => {
  const { show, startWriter, ledger, alter } = await startTest(t)
  startWriter()
  const [a, b] = [await ledger.append(verifyOf()), await ledger.append(verifyOf())].map(written)
  if (!a || !b) throw new Error('not written')
  const blob = ledger.readPrivate(b.index)?.blob as Buffer
  alter('update private_rows set blob = ? where idx = ?', blob, a.index)
  const swapped = await show('the-auditor', String(a.index), '--reason', 'x')
  t.equal(swapped.code, 1)
  t.equal(columns(swapped.out)['hashes'], 'ENTRY AND ROW DO NOT AGREE in: private row, who, jti')
  blob[20] = (blob[20] as number) ^ 1
  alter('update private_rows set blob = ? where idx = ?', blob, b.index)
  const altered = await show('the-auditor', String(b.index), '--reason', 'x')
  t.match(altered, { code: 1, err: [/does not open under the record key of 2026-11-23: it was altered/] })
  t.notOk(altered.out.join('\n').includes('swift-parcel'))
})

t.test('a key that this keyring never had is not called destroyed', async (t) => {
  const { show, startWriter, ledger, alter } = await startTest(t)
  startWriter()
  const { index } = written(await ledger.append(verifyOf()))
  alter('update private_rows set day = ? where idx = ?', Math.floor(noon / dayMs) - 800, index)
  const { code, err } = await show('the-auditor', String(index), '--reason', 'x')
  t.match({ code, err }, { code: 1, err: [/has no record key of 2024-09-14, and destroyed none/] })
})

t.test('refusals have number and words', (t) => {
  t.equal(printRefusal(0), 'none')
  t.equal(printRefusal(1), 'R01 sod parse')
  t.equal(printRefusal(24), 'R24 not yet valid')
  t.equal(printRefusal(32), 'R32 card not current')
  t.equal(printRefusal(34), 'R34 deceased')
  t.equal(printRefusal(99), 'R99 (a number without words)')
  t.end()
})
