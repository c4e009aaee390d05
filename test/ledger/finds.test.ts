// Searches and counts: what is found while blocks are filed and joined under the search, tags against a slow scan, what
// outlets were answered against what was appended, and how much a search must read by itself under load.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { carrierDay, dayMs, hourMs } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { parseEntry, printEntry } from '../../src/ledger/entry.ts'
import { prepareFiling, prepareFinding } from '../../src/ledger/finds.ts'
import { leafHash } from '../../src/ledger/hash.ts'
import type { VerifyEntry } from '../../src/ledger/ledger.ts'
import { prepareReader } from '../../src/ledger/reader.ts'
import { openLedgerFile, openLedgerReader } from '../../src/ledger/sqlite.ts'
import { prepareWriter } from '../../src/ledger/writer.ts'
import { signer } from '../helpers/checked-ledger.ts'
import { noon, openIn, reasonOf, verifyOf } from '../helpers/ledger.ts'

type Tags = { subjectTag: Buffer; cardTag: Buffer }
const randomTags = (): Tags => ({ subjectTag: randomBytes(16), cardTag: randomBytes(16) })

/** A file of `count` entries in groups of 512, one group a second, with the tags that the test gives. */
function fill(t: Test, count: number, tagsOf: (index: number) => Tags) {
  const file = join(t.testdir(), 'ledger.db')
  const db = openLedgerFile(file)
  db.exec('pragma synchronous = off')
  t.teardown(() => db.close())
  const writer = prepareWriter(db)
  const blob = randomBytes(40)
  const hashes = { who: randomBytes(32), sealedHash: randomBytes(32), privateHash: randomBytes(32) }
  for (let at = 0; at < count; at += 512) {
    const group = Array.from({ length: Math.min(512, count - at) }, (_, i) => ({
      claim: undefined,
      make: (timeMs: number) => {
        const data = printEntry({ type: 1, timeMs, answer: 1, jtiHash: randomBytes(32), ...hashes })
        return { data, leaf: leafHash(data), day: 1, blob, ...tagsOf(at + i) }
      },
    }))
    writer.commit(group, noon + (at / 512) * 1000, () => true)
  }
  return { file, db }
}

/** A handle whose statements tell `onRead` before each read, and between the rows of one. */
function watched(db: DatabaseSync, onRead: () => void): DatabaseSync {
  const prepare = (sql: string) => {
    const statement = db.prepare(sql)
    return {
      get(...values: never[]) {
        onRead()
        return statement.get(...values)
      },
      *iterate(...values: never[]) {
        onRead()
        for (const row of statement.iterate(...values)) {
          yield row
          onRead()
        }
      },
      all: (...values: never[]) => statement.all(...values),
      run: (...values: never[]) => statement.run(...values),
    }
  }
  return { prepare } as unknown as DatabaseSync
}

/** Runs a search once for each moment in it at which `meddle` may come between; what each found. */
function searchAround(
  given: { file: string; key: Buffer; size: number },
  around: { prepare(): void; meddle(): void },
): number[][] {
  const reading = openLedgerReader(given.file)
  const found: number[][] = []
  for (let moment = 1, reads = 1; moment <= reads; moment++) {
    around.prepare()
    reads = 0
    const find = prepareFinding(
      watched(reading, () => {
        if (++reads === moment) around.meddle()
      }),
    )
    found.push(find('subject', given.key, given.size))
  }
  reading.close()
  return found
}

t.test('a block that is filed while a search reads: nothing is missed, nothing found twice', (t) => {
  const tags = { ...randomTags(), subjectTag: Buffer.alloc(16, 0x5a) }
  const sought = [0, 17, 4095, 4096, 5000]
  const { file, db } = fill(t, 5120, (index) => (sought.includes(index) ? tags : randomTags()))
  let filing: ReturnType<typeof prepareFiling>
  const prepare = () => {
    db.exec('delete from finds')
    filing = prepareFiling(db)
    while (filing.behind(4095) > 0) filing.read(4095, 1000)
  }
  const meddle = () => filing.read(5120, 1000)
  const given = { file, key: tags.subjectTag, size: 5120 }
  const found = searchAround(given, { prepare, meddle })
  t.ok(found.length >= 4, `${found.length} moments`)
  for (const indices of found) t.same(indices, sought)
  t.equal(
    Number(db.prepare('select count(*) as n from finds where kind = 0').get()?.['n']),
    1,
    'it was filed',
  )
  // Entries and their block that came after the search had read how many there are are left to the next one.
  for (const indices of searchAround({ ...given, size: 4000 }, { prepare, meddle })) t.same(indices, [0, 17])
  t.end()
})

t.test('small blocks that are joined while a search reads: nothing is missed, nothing found twice', (t) => {
  const tags = { ...randomTags(), subjectTag: Buffer.alloc(16, 0x5a) }
  const sought = [3, 4095, 4096, 65_535, 65_536]
  const { file, db } = fill(t, 66_048, (index) => (sought.includes(index) ? tags : randomTags()))
  let filing: ReturnType<typeof prepareFiling>
  const prepare = () => {
    db.exec('delete from finds')
    filing = prepareFiling(db)
    while (filing.behind(65_536) > 0) filing.read(65_536, 4096)
  }
  const meddle = () => {
    while (filing.step(66_048, 4096)) {}
  }
  const found = searchAround({ file, key: tags.subjectTag, size: 66_048 }, { prepare, meddle })
  t.ok(found.length >= 4, `${found.length} moments`)
  for (const indices of found) t.same(indices, sought)
  const small = db.prepare('select count(*) as n from finds where span = 1 and kind in (1, 2, 3)')
  t.equal(Number(small.get()?.['n']), 0, 'they were joined')
  t.end()
})

t.test(
  'two that file one ledger make the same blocks, and one that is behind goes on after the other',
  (t) => {
    const { db, file } = fill(t, 9000, randomTags)
    const other = openLedgerFile(file)
    const [first, second] = [prepareFiling(db), prepareFiling(other)]
    const rows = () =>
      db.prepare('select kind, part, block, hex(rows) as rows from finds order by 1, 2, 3').all()
    while (first.behind(9000) > 0) first.read(9000, 1000)
    const made = rows()
    second.read(9000, 10)
    t.equal(second.behind(9000), 9000 - 8192 - 10)
    while (second.step(9000, 1000)) {}
    t.same(rows(), made)
    other.close()
    t.end()
  },
)

t.test('tags are found as a slow scan finds them, not before a time, filed and not filed', (t) => {
  // Few, and some the same in their first 8 bytes, by which they are filed.
  const tags = Array.from({ length: 40 }, (_, i) =>
    Buffer.concat([Buffer.alloc(8, i >> 1), Buffer.from([i]), randomBytes(7)]),
  )
  const draw = () => tags[randomBytes(1).readUInt8() % tags.length] as Buffer
  const count = 70_144
  const { db } = fill(t, count, () => ({ subjectTag: draw(), cardTag: draw() }))
  const columns = { subject: 'subject_tag', card: 'card_tag' } as const
  const rows = db.prepare(
    'select e.idx, e.data, p.subject_tag, p.card_tag from entries e join private_rows p on p.idx = e.idx order by 1',
  )
  const all = rows.all().map(({ idx, data, subject_tag, card_tag }) => ({
    index: Number(idx),
    timeMs: parseEntry(Buffer.from(data as Uint8Array))?.timeMs ?? 0,
    subject: Buffer.from(subject_tag as Uint8Array).toString('hex'),
    card: Buffer.from(card_tag as Uint8Array).toString('hex'),
  }))
  const scan = (kind: keyof typeof columns, tag: Buffer, sinceMs: number) =>
    all.filter((row) => row.timeMs >= sinceMs && row[kind] === tag.toString('hex')).map(({ index }) => index)
  const reader = prepareReader(db)
  const times = [0, noon, noon + 1, noon + 8000, noon + 70_500, noon + 128_000, noon + 136_000, noon + dayMs]
  const compare = (when: string) => {
    for (const kind of ['subject', 'card'] as const) {
      for (const [i, sinceMs] of times.entries()) {
        const tag = tags[(i * 7) % tags.length] as Buffer
        t.same(reader.indicesOfTag(kind, tag, sinceMs), scan(kind, tag, sinceMs), `${kind} ${i}, ${when}`)
      }
    }
    t.same(reader.indicesOfTag('card', randomBytes(16), 0), [])
  }
  t.ok(
    scan('subject', tags[0] as Buffer, 0).length > 1000 &&
      scan('card', tags[7] as Buffer, noon + dayMs).length === 0,
  )
  compare('nothing filed')
  const filing = prepareFiling(db)
  while (filing.behind(30_000) > 0) filing.read(30_000, 4096)
  compare('below 28,672 filed')
  for (let i = 0; i < 40; i++) filing.step(count, 4096)
  compare('some parts joined')
  while (filing.step(count, 4096)) {}
  compare('all filed and joined')
  t.end()
})

t.test(
  'outlets are counted as they were answered: groups, days, lost appends, a commit that fails',
  async (t) => {
    const { ledger, file, clock } = await openIn(t)
    const counted = new Map<string, number[]>()
    const carriers = ['swift-parcel', 'river-post']
    const outlets = ['A-1', 'B-2']
    async function append(entries: readonly VerifyEntry[]) {
      const appended = await Promise.all(entries.map((entry) => ledger.append(entry)))
      for (const [i, { carrier, outlet, answer }] of entries.entries()) {
        if ('lost' in (appended[i] as object)) continue
        const place = `${carrier} ${outlet} ${carrierDay(clock.now())}`
        const counts = counted.get(place) ?? [0, 0, 0]
        counts[answer - 1] = (counts[answer - 1] as number) + 1
        counted.set(place, counts)
      }
      return appended.filter((each) => 'lost' in each).length
    }
    const some = (count: number) =>
      Array.from({ length: count }, () => {
        const [a, b, c] = randomBytes(3)
        const answer = (((c as number) % 3) + 1) as 1 | 2 | 3
        const type = answer === 3 ? ('undecided' as const) : ('verify' as const)
        const [carrier, outlet] = [
          carriers[(a as number) % 2] as string,
          outlets[(b as number) % 2] as string,
        ]
        return verifyOf({ type, answer, carrier, outlet, expiresMs: clock.now() + 120_000 })
      })
    let lost = 0
    for (let round = 0; round < 6; round++) {
      const entries = some(700)
      const again = entries.filter(({ type }) => type === 'verify').slice(0, 50)
      lost += await append([...entries, ...again])
      lost += await append(again.map((entry) => ({ ...entry, digest: randomBytes(32), outlet: 'C-3' })))
      clock.advance(5 * hourMs) // Over midnight at UTC and in Shanghai, which are different days.
    }
    t.equal(lost, 600, 'the same again, and others’ for the same challenges')

    const other = new DatabaseSync(file)
    t.teardown(() => other.close())
    other.exec(`create trigger stop before insert on answered begin select raise(abort, 'stop'); end`)
    t.equal(await reasonOf(ledger.append(verifyOf({ outlet: 'D-4' }))), 'commit_failed')
    other.exec('drop trigger stop')
    other.exec(`create trigger stop before insert on private_rows begin select raise(abort, 'stop'); end`)
    t.equal(await reasonOf(ledger.append(verifyOf({ outlet: 'D-4' }))), 'commit_failed')
    other.exec('drop trigger stop')

    const days = [carrierDay(noon), carrierDay(clock.now())] as const
    const told = new Map<string, number[]>()
    for (const carrier of carriers) {
      let after = { day: days[0] - 1, outlet: '~' }
      for (;;) {
        const page = ledger.answeredOf({ carrier, after, toDay: days[1], limit: 3 })
        for (const { day, outlet, yes, no, undecided } of page)
          told.set(`${carrier} ${outlet} ${day}`, [yes, no, undecided])
        const last = page.at(-1)
        if (!last) break
        after = last
      }
      const answers = [...counted].filter(([place]) => place.startsWith(carrier))
      const sum = answers.reduce((all, [, [yes = 0, no = 0]]) => all + yes + no, 0)
      const undecided = answers.reduce((all, [, counts]) => all + (counts[2] ?? 0), 0)
      t.same(ledger.countAnswers(carrier, ...days), { answers: sum, undecided })
    }
    t.same(new Map([...told].sort()), new Map([...counted].sort()))
    t.ok(new Set([...counted.keys()].map((place) => place.split(' ')[2])).size >= 2, 'several days')
    const total = other.prepare('select count(*) as n from entries').get()?.['n']
    t.equal(
      [...told.values()].flat().reduce((all, count) => all + count, 0),
      total,
      'each entry once',
    )
    const after = { day: days[1], outlet: '~' }
    t.same(ledger.answeredOf({ carrier: 'swift-parcel', after, toDay: days[1] + 9, limit: 9 }), [])
  },
)

t.test('under load a search reads no more than a block and two groups by itself', async (t) => {
  const { ledger, file } = await openIn(t, { signer })
  const db = new DatabaseSync(file, { readOnly: true })
  t.teardown(() => db.close())
  const filed = db.prepare('select rows from finds where kind = 0')
  const last = db.prepare('select max(idx) as idx from entries')
  const unfiled = () => {
    const rows = filed.get()?.['rows'] as Uint8Array | undefined
    return Number(last.get()?.['idx'] ?? -1) + 1 - (rows ? Number(Buffer.from(rows).readBigUInt64BE()) : 0)
  }
  let worst = 0
  let next = 0
  const lane = async () => {
    while (next++ < 20_000) {
      await ledger.append(verifyOf())
      if (next % 64 === 0) worst = Math.max(worst, unfiled())
    }
  }
  await Promise.all(Array.from({ length: 1024 }, lane))
  t.ok(worst <= 4096 + 2 * limits.ledgerGroupMax, `${worst} unfiled at most`)
  t.ok(worst > 1000, 'they were looked at')
})
