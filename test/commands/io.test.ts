// How commands see their change recorded: in the embedded ledger's file, for at most 5 s, and never failing for it.
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t from 'tap'
import { systemClock } from '../../src/base/clock.ts'
import { readConfig } from '../../src/base/config.ts'
import { createCommandIo } from '../../src/commands/context.ts'
import { entryWaitMs, ioOf, sayRecorded } from '../../src/commands/io.ts'

const context = (env: Record<string, string>) =>
  createCommandIo({ config: readConfig(env), clock: systemClock, out: () => {}, err: () => {} })

t.test('the context of the command line becomes the io of the commands', (t) => {
  const io = ioOf(context({ VOUCHSAFE_DATA: '/tmp/x', OPERATOR_NAME: 'lin.qiao', OPERATOR_SECRET: 'abc' }))
  t.match(io, { dataDir: '/tmp/x', operator: { name: 'lin.qiao', secret: 'abc' } })
  t.equal(ioOf(context({})).operator, undefined)
  t.equal(ioOf(io), io)
  t.end()
})

t.test('an entry is found in the ledger as soon as it is there', async (t) => {
  const dir = t.testdir()
  const io = ioOf(context({ VOUCHSAFE_DATA: dir }))
  t.equal(await io.waitForEntry(7), false, 'no ledger, no waiting')
  const ledger = new DatabaseSync(join(dir, 'ledger.db'))
  t.teardown(() => ledger.close())
  ledger.exec('pragma journal_mode = wal')
  const waiting = io.waitForEntry(7)
  setTimeout(() => {
    ledger.exec(
      'create table acts (seq bigint primary key, idx bigint not null); insert into acts values (6, 0)',
    )
  }, 150)
  setTimeout(() => ledger.exec('insert into acts values (7, 1)'), 300)
  t.equal(await waiting, true, 'even a ledger that is just being made is waited for')
  t.equal(await io.waitForEntry(6), true)
})

t.test('a wait that never ends is given up after 5 s, and one that fails says pending', async (t) => {
  const lines: string[] = []
  const base = { ...ioOf(context({})), out: (line: string) => lines.push(line) }
  const begun = systemClock.mono()
  await sayRecorded({ ...base, waitForEntry: () => new Promise(() => {}) }, 3)
  const took = systemClock.mono() - begun
  t.ok(took > entryWaitMs - 100 && took < entryWaitMs + 1000, `${took} ms`)
  await sayRecorded({ ...base, waitForEntry: async () => Promise.reject(new Error('disk gone')) }, 4)
  await sayRecorded({ ...base, waitForEntry: async () => true }, 5)
  t.match(lines, [
    /^Change 3 is in force; .* pending/,
    /^Change 4 .* pending/,
    /^Change 5 .* recorded in the ledger/,
  ])
})
