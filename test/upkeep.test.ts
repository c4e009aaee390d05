// What a gateway does for the registry by the clock: overdue carriers, and rows past their use, a little at a time.
import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { sql } from 'kysely'
import t from 'tap'
import { sha256 } from '../src/base/bytes.ts'
import { carrierDay, dayMs, manualClock } from '../src/base/clock.ts'
import { callOnce } from '../src/registry/calls.ts'
import { admitCarrier, listCarriers } from '../src/registry/carriers.ts'
import { changes } from '../src/registry/changes.ts'
import { redeem } from '../src/registry/redemptions.ts'
import { readRevokedTokens, revokeTokens } from '../src/registry/revoked-tokens.ts'
import { openRegistry } from '../src/registry/schema.ts'
import { keepUp } from '../src/upkeep.ts'
import { until } from './helpers/carrier.ts'

const startMs = Date.UTC(2026, 10, 24)

t.test(
  'what is past its use is forgotten, what is not stays; an overdue carrier is suspended once',
  async (t) => {
    const db = await openRegistry(join(t.testdir(), 'registry.db'))
    const clock = manualClock(startMs)
    const by = { operator: 'lin.qiao', nowMs: startMs }
    await admitCarrier(db, {
      id: 'swift-crane',
      name: 'X',
      outlets: [],
      ...by,
      reviewAtMs: startMs + 500 * dayMs,
    })
    await admitCarrier(db, { id: 'river-post', name: 'X', outlets: [], ...by })
    const call = (key: string, nowMs: number) =>
      callOnce(db, { carrier: 'river-post', key, digest: sha256(Buffer.from('x')), nowMs }, async () => ({
        reply: { status: 200, body: '{}' },
        acts: [],
      }))
    for (let i = 0; i < 30; i++) await call(`old ${i}`, startMs)
    const laterMs = startMs + 450 * dayMs
    await call('new', laterMs)
    await changes(db, async (tx) => {
      for (let i = 0; i < 1500; i++) {
        const day = carrierDay(i < 1400 ? startMs : laterMs)
        await redeem(tx, { jti: randomBytes(16), carrier: 'river-post', outlet: 'a', day, atMs: startMs })
      }
      return { result: undefined, acts: [] }
    })
    const token = (endsAtMs: number) => ({ jti: randomBytes(16), carrier: 'river-post', endsAtMs })
    await revokeTokens(db, { tokens: [token(startMs + 1), token(laterMs + dayMs)], nowMs: startMs })

    const suspended: string[] = []
    const faults: unknown[] = []
    const start = () =>
      keepUp({ db, clock, onSuspended: (id) => suspended.push(id), onError: (cause) => faults.push(cause) })
    const first = start()
    await first.close()
    const count = async (table: 'calls' | 'redemptions' | 'revoked_tokens') =>
      (
        await db
          .selectFrom(table)
          .select((eb) => eb.fn.countAll<number>().as('n'))
          .executeTakeFirst()
      )?.n
    t.same([await count('calls'), await count('redemptions'), await count('revoked_tokens')], [31, 1500, 2])
    const second = start()
    const third = start()
    t.teardown(async () => {
      await Promise.all([second.close(), third.close()])
      await db.destroy()
    })
    clock.advance(450 * dayMs)
    await until(async () => (await count('redemptions')) === 100, 'pruned', 15_000)
    t.same([await count('calls'), await count('revoked_tokens')], [1, 1])
    t.equal((await readRevokedTokens(db, clock.now())).length, 1)
    t.same(suspended, [])
    clock.advance(51 * dayMs)
    await until(async () => (await listCarriers(db))[1]?.status === 'suspended', 'suspended', 15_000)
    t.same(suspended, ['swift-crane'], 'by one of the two')
    t.same(faults, [])
  },
)

t.test('pruning holds up neither overdue reviews nor the end', async (t) => {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  const clock = manualClock(startMs)
  const review = { operator: 'lin.qiao', nowMs: startMs, reviewAtMs: startMs + dayMs }
  await admitCarrier(db, { id: 'swift-crane', name: 'X', outlets: [], ...review })
  // Some 150 parts, each with a pause after it: longer than it takes until reviews are looked at again.
  await sql`with recursive n(i) as (select 1 union all select i + 1 from n where i < 150000)
    insert into calls select 'swift-crane', i, x'00', 200, '{}', ${startMs} + i from n`.execute(db)
  const left = async () => {
    const counted = db.selectFrom('calls').select((eb) => eb.fn.countAll<number>().as('n'))
    return (await counted.executeTakeFirstOrThrow()).n
  }
  const suspended: string[] = []
  const faults: unknown[] = []
  const upkeep = keepUp({
    ...{ db, clock, onSuspended: (id) => suspended.push(id), onError: (cause) => faults.push(cause) },
  })
  clock.advance(dayMs / 2)
  await until(async () => (await left()) < 150_000, 'pruning has begun', 15_000)
  clock.advance(dayMs)
  await until(() => suspended.length > 0, 'suspended meanwhile', 15_000)
  t.ok((await left()) > 0, 'while there is more to prune')
  await upkeep.close()
  const atEnd = await left()
  t.ok(atEnd > 0, 'closed before all is pruned')
  await sleep(200)
  t.equal(await left(), atEnd, 'and nothing goes on')
  t.same(faults, [])
})
