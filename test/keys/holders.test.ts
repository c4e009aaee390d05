// Who holds which KEK version: told by the nodes themselves, believed for three minutes.
import { join } from 'node:path'
import t from 'tap'
import { dayMs, manualClock } from '../../src/base/clock.ts'
import { kyselyOver } from '../../src/base/kysely.ts'
import { holderLifeMs, liveHolders, reportHolder } from '../../src/keys/holders.ts'
import { findLate } from '../../src/keys/rewrap.ts'
import { type KeyringTables, openKeyringFile } from '../../src/keys/store.ts'

t.test('a node lives for three minutes after it was seen, and its row a day', async (t) => {
  const file = join(t.testdir(), 'keyring.db')
  const clock = manualClock(1_800_000_000_000)
  const [db, read] = [kyselyOver<KeyringTables>(openKeyringFile(file)), openKeyringFile(file)]
  t.teardown(() => Promise.all([db.destroy(), read.close()]))
  const names = () => liveHolders(read, clock.now()).map(({ node }) => node)
  const a = reportHolder(db, { node: 'a', clock })
  await a.report(3)
  clock.advance(holderLifeMs - 1)
  t.same(names(), ['a'])
  const b = reportHolder(db, { node: 'b', clock })
  await b.report(4)
  t.same(
    findLate(read, 4, clock.now()).map(({ node }) => node),
    ['a'],
  )
  t.same(findLate(read, 3, clock.now()), [])
  clock.advance(1)
  t.same(names(), ['b'], 'killed: its row stays, it does not count')
  await a.report(3)
  t.same(names(), ['a', 'b'], 'or was it only slow')
  await b.remove()
  t.same(names(), ['a'])
  clock.advance(dayMs + 1)
  await reportHolder(db, { node: 'c', clock }).report(4)
  const rows = read.prepare('select node from holders').all()
  t.same(
    rows.map((row) => row['node']),
    ['c'],
  )
})
