// `vouchsafe keys`, as a person types it, beside a gateway's keyring, ledger and writer.
import { readdirSync, renameSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { dayMs, epochOf } from '../../src/base/clock.ts'
import { runKeys } from '../../src/commands/keys.ts'
import { runLedger } from '../../src/commands/ledger.ts'
import { entryType, parseEntry } from '../../src/ledger/entry.ts'
import { changesAfter, headOfChanges } from '../../src/registry/changes.ts'
import { noon, verifyOf, written } from '../helpers/ledger.ts'
import { makePlace } from '../helpers/place.ts'

const firstDay = epochOf(noon, dayMs)

/** A place where four days have gone by, each with a verification. */
async function startTest(t: Test) {
  const place = await makePlace(t, noon)
  const entries: number[] = []
  for (let n = 0; ; n++) {
    entries.push(written(await place.ledger.append(verifyOf())).index)
    if (n === 3) break
    place.clock.advance(dayMs)
    await place.ring.tend()
  }
  const keys = (name: string, ...args: string[]) => place.type(runKeys, name, ...args)
  const show = (index: number) =>
    place.type(runLedger, 'the-auditor', 'show', String(index), '--reason', 'test')
  /** Lets the gateway tend its keys every tenth of a second while `work` runs. */
  async function tending<T>(work: Promise<T>): Promise<T> {
    const timer = setInterval(() => place.ring.tend().catch(t.fail), 100)
    return work.finally(() => clearInterval(timer))
  }
  return { ...place, entries, keys, show, tending }
}

t.test('destroy: told, recorded and done; rows of those days cannot be shown, all others can', async (t) => {
  const { keys, show, tending, startWriter, entries, ledger, db, certsDir, ring } = await startTest(t)
  startWriter()
  const days = `${firstDay}-${firstDay + 1}`
  t.same(await keys('the-admin', 'destroy', '--retention-days', '1', '--dry-run'), {
    ...{ code: 0, err: [] },
    out: [`4 keys are due with a retention of 1 days: record ${days} · tag ${days}`],
  })
  t.equal(await headOfChanges(db), 4, 'a dry run writes nothing')
  const { code, out, err } = await tending(keys('the-admin', 'destroy', '--retention-days', '1'))
  t.match({ code, err, out }, { code: 0, err: [] })
  t.match(out, [
    /^Waiting until every gateway has loaded KEK version 2: gateway-1$/,
    `Destroyed: record ${days} · tag ${days}`,
    `All other keys are under KEK version 2; the earlier versions are erased in ${certsDir}.`,
    /^Recorded in the ledger as change 5\. Make a new backup/,
  ])
  const [act] = (await changesAfter(db, 4, 10)).map((change) => JSON.parse(change.act))
  const runs = [[firstDay, firstDay + 1]]
  t.match(act, {
    ...{ act: 'keys.destroy', operator: 'the-admin', kek: 2, retentionDays: 1 },
    ...{ destruction: /^[\w-]{22}$/, keys: { record: runs, tag: runs } },
  })
  const index = (await ledger.entryOfSeq(5)) ?? -1
  t.equal(parseEntry(ledger.readEntry(index)?.data as Buffer)?.type, entryType.destruction)
  t.same(readdirSync(certsDir), ['kek-2.key'])

  const shown = await Promise.all(entries.map((entry) => show(entry)))
  t.same(
    shown.map((each) => each.code),
    [1, 1, 0, 0],
  )
  t.match(shown[0]?.err, [/The record key of 2026-11-23 is destroyed: this row cannot be opened any more/])
  t.notOk(shown[0]?.out.join('\n').includes('swift-parcel'))
  await ring.tend()
  t.ok(ring.isUsable())
  t.ok(written(await ledger.append(verifyOf())).index > 0, 'the gateway goes on')
  t.match(await keys('the-admin', 'destroy', '--retention-days', '1'), {
    ...{ code: 0, out: ['Nothing is due with a retention of 1 days; nothing was changed.'] },
  })
})

t.test('nothing is due with the default retention', async (t) => {
  const { keys, db, certsDir } = await startTest(t)
  t.match(await keys('the-admin', 'destroy'), {
    code: 0,
    out: [/^Nothing is due with a retention of 730 days/],
  })
  t.match(await keys('the-admin', 'destroy', '--dry-run'), { code: 0, out: [/^Nothing is due/] })
  t.equal(await headOfChanges(db), 4)
  t.same(readdirSync(certsDir), ['kek-1.key'])
})

t.test('only an admin destroys, or is told what would be', async (t) => {
  const { keys, db } = await startTest(t)
  for (const more of [[], ['--dry-run']]) {
    for (const role of ['auditor', 'reviewer', 'metrics']) {
      const said = await keys(`the-${role}`, 'destroy', '--retention-days', '1', ...more)
      t.match(said, { code: 1, out: [], err: [new RegExp(`has role ${role}; this needs admin`)] })
    }
    t.match(await keys('', 'destroy', ...more), { code: 1, err: [/^Who acts\?/] })
  }
  t.equal(await headOfChanges(db), 4)
})

t.test('without an entry no key is touched; the next run takes the same act', async (t) => {
  const { keys, tending, startWriter, db, certsDir } = await startTest(t)
  const pending = await keys('the-admin', 'destroy', '--retention-days', '1')
  t.match(pending, { code: 1, err: [/^No key was touched: the entry of this destruction \(change 5\)/] })
  t.same(readdirSync(certsDir), ['kek-1.key'])
  t.match(
    (await keys('the-admin', 'list')).out.at(-1),
    /^A destruction begun 2026-11-26 12:00 is not done \(recorded\)/,
  )
  startWriter()
  const late = await keys('the-admin', 'destroy', '--wait-seconds', '0')
  t.match(late, {
    code: 1,
    err: [/^No key was destroyed yet: KEK version 2 is not loaded by gateway-1 \(has 1\)/],
  })
  t.match(await tending(keys('the-admin', 'destroy')), { code: 0 })
  t.equal(await headOfChanges(db), 5, 'one act')
})

t.test('list: every key with its epoch, KEK version and end, and no bytes of it', async (t) => {
  const { keys, ring } = await startTest(t)
  const { code, out, err } = await keys('', 'list', '--retention-days', '10')
  t.same({ code, err }, { code: 0, err: [] })
  t.equal(out[0], 'kind\tepoch\tkek\tfrom (UTC)\tends (UTC)')
  t.ok(out.includes(`record\t${firstDay}\t1\t2026-11-23 00:00\t2026-12-04 00:00`))
  t.ok(out.includes(`cache\t${firstDay + 3}\t1\t2026-11-26 00:00\t2026-11-28 00:00`))
  t.match(out.at(-1), /^gateway gateway-1 holds KEK version 1, seen 2026-11-26 12:00$/)
  const secret = ring.get('record', firstDay)?.export() as Buffer
  for (const form of ['hex', 'base64', 'base64url'] as const) {
    t.notOk(out.join('\n').includes(secret.toString(form).slice(0, 12)))
  }
})

t.test('what cannot be understood exits with 64, and a folder without a keyring is told', async (t) => {
  const { keys, dataDir } = await startTest(t)
  const table: [args: string[], said: RegExp][] = [
    [[], /vouchsafe keys destroy/],
    [['destroy', 'all'], /vouchsafe keys destroy/],
    [['list', 'all'], /vouchsafe keys destroy/],
    [['destroy', '--retention-days', '0'], /--retention-days "0" is not accepted: give a number from 1/],
    [['destroy', '--retention-days', '1.5'], /--retention-days/],
    [['destroy', '--retention-days', '99999'], /--retention-days/],
    [['destroy', '--wait-seconds', '3601'], /--wait-seconds/],
    [['destroy', '--wait-seconds', 'x'], /--wait-seconds/],
    [['destroy', '--force'], /Unknown option '--force'/],
  ]
  for (const [args, said] of table) {
    t.match(await keys('the-admin', ...args), { code: 64, out: [], err: [said] }, args.join(' '))
  }
  t.match(await keys('', '--help'), { code: 0, out: [/keys destroy --dry-run/] })
  renameSync(join(dataDir, 'keyring.db'), join(dataDir, 'away.db'))
  for (const verb of ['list', 'destroy']) {
    t.match(await keys('the-admin', verb), { code: 1, err: [/There is no keyring at/] })
  }
})
