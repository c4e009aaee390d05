// The transaction of a group on a handle of the test's own: a full disk, a refused day, a rolled-back start.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import t from 'tap'
import { printEntry } from '../../src/ledger/entry.ts'
import { prepareReader } from '../../src/ledger/reader.ts'
import { nameSqliteError, openLedgerFile, openLedgerReader } from '../../src/ledger/sqlite.ts'
import { prepareWriter, type Wanted } from '../../src/ledger/writer.ts'

const always = () => true
const wantedOf = (bytes = 200): Wanted => ({
  claim: { challenge: randomBytes(42), digest: randomBytes(32), expiresMs: 9 },
  make: (timeMs) => ({
    data: printEntry({ type: 4, timeMs, actHash: randomBytes(32) }),
    leaf: randomBytes(32),
    day: 1,
    subjectTag: randomBytes(16),
    cardTag: randomBytes(16),
    blob: randomBytes(bytes),
  }),
})

t.test('a full disk rolls the group back under its name, and room heals it', (t) => {
  const db = openLedgerFile(join(t.testdir(), 'ledger.db'))
  t.teardown(() => db.close())
  const writer = prepareWriter(db)
  t.equal(writer.commit([wantedOf()], 5, always)?.[0]?.index, 0)
  const pages = Number(db.prepare('pragma page_count').get()?.['page_count'])
  db.exec(`pragma max_page_count = ${pages + 3}`)
  const big = Array.from({ length: 50 }, () => wantedOf(4000))
  let name = 'none'
  try {
    writer.commit(big, 6, always)
  } catch (error) {
    name = nameSqliteError(error)
  }
  t.equal(name, 'disk_full')
  t.notOk(db.isTransaction)
  t.equal(prepareReader(db).size(), 1)
  db.exec('pragma max_page_count = 100000')
  const results = writer.commit(big, 7, always)
  t.same(
    results?.map(({ index }) => index),
    Array.from({ length: 50 }, (_, i) => i + 1),
  )
  t.end()
})

t.test('mayWrite hears the time inside the transaction, and its no writes nothing', (t) => {
  const db = openLedgerFile(join(t.testdir(), 'ledger.db'))
  t.teardown(() => db.close())
  const writer = prepareWriter(db)
  writer.commit([wantedOf()], 50, always)
  const heard: number[] = []
  const hear = (answer: boolean) => (timeMs: number) => {
    heard.push(timeMs)
    return answer
  }
  t.equal(writer.commit([wantedOf()], 40, hear(false)), undefined)
  t.notOk(db.isTransaction)
  t.equal(prepareReader(db).size(), 1)
  t.match(writer.commit([wantedOf()], 60, hear(true)), [{ index: 1, timeMs: 60 }])
  t.same(heard, [50, 60])
  t.end()
})

t.test('a transaction that a failing disk left open is rolled back first', (t) => {
  const db = openLedgerFile(join(t.testdir(), 'ledger.db'))
  t.teardown(() => db.close())
  const writer = prepareWriter(db)
  db.exec(`begin immediate; insert into acts (seq, idx) values (7, 7)`)
  t.equal(writer.commit([wantedOf()], 5, always)?.[0]?.index, 0)
  t.equal(prepareReader(db).lastSeq(), 0)
  t.end()
})

t.test('the reading handle cannot write', (t) => {
  const db = openLedgerReader(join(t.testdir(), 'ledger.db'))
  t.teardown(() => db.close())
  t.throws(() => db.exec('insert into acts (seq, idx) values (1, 1)'), /readonly/)
  t.end()
})

t.test('errors of SQLite have fixed words', (t) => {
  const errorOf = (errcode: unknown) => Object.assign(new Error('text with a path'), { errcode })
  t.equal(nameSqliteError(errorOf(5)), 'busy')
  t.equal(nameSqliteError(errorOf(517)), 'busy', 'extended code')
  t.equal(nameSqliteError(errorOf(8)), 'read_only')
  t.equal(nameSqliteError(errorOf(778)), 'io')
  t.equal(nameSqliteError(errorOf(13)), 'disk_full')
  t.equal(nameSqliteError(errorOf(14)), 'cannot_open')
  t.equal(nameSqliteError(errorOf(1)), 'commit_failed')
  t.equal(nameSqliteError(new Error('ours')), 'commit_failed')
  t.equal(nameSqliteError('no error'), 'commit_failed')
  t.end()
})
