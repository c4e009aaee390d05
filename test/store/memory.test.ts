// The embedded store: the contract, then its bounds and how it forgets (PROTOCOL section 4).
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import { createMemoryStore, memoryStoreWarning } from '../../src/store/memory.ts'
import { testStoreContract } from './contract.ts'

const startMs = Date.UTC(2026, 10, 23)
const value = Buffer.alloc(41, 7)
const name = (i: number) => {
  const bytes = Buffer.alloc(42)
  bytes.writeUInt32BE(i)
  return bytes
}

testStoreContract(t, async (t) => {
  const clock = manualClock(startMs)
  const store = createMemoryStore(clock)
  t.teardown(() => store.close())
  return { store, pass: async (ms) => clock.advance(ms), settle: async () => {} }
})

t.test('a full store refuses a new guard and never evicts a live one', async (t) => {
  const clock = manualClock(startMs)
  const store = createMemoryStore(clock, { entriesMax: 100 })
  for (let i = 0; i < 100; i += 1) await store.claimGuard(name(i), value, 310_000)
  await t.rejects(store.claimGuard(name(100), value, 310_000), { name: 'StoreUnavailable', reason: 'full' })
  store.putGuard(name(101), value, 310_000)
  t.equal(store.writesLost, 1)
  t.same(await store.claimGuard(name(0), value, 310_000), value, 'the first guard still stands')
  store.putGuard(name(50), value, 310_000)
  t.equal(store.writesLost, 1, 'a guard that stands can be written again')
  store.putAnswer('v1:c:1:a', value, 1000)
  t.same(await store.readAnswers(['v1:c:1:a']), [value], 'guards take no room from answers')
  clock.advance(311_001)
  t.equal(await store.claimGuard(name(100), value, 310_000), undefined, 'room again once they ended')
})

t.test('guards that ended are forgotten a few at a time, by whoever writes next', async (t) => {
  const clock = manualClock(startMs)
  const store = createMemoryStore(clock, { entriesMax: 10_000 })
  for (let i = 0; i < 5000; i += 1) await store.claimGuard(name(i), value, 310_000)
  clock.advance(400_000)
  const before = store.sizes.guards
  await store.claimGuard(name(5000), value, 310_000)
  t.ok(before - store.sizes.guards <= 64, 'one write does little')
  for (let i = 5001; i < 6000; i += 1) await store.claimGuard(name(i), value, 310_000)
  t.equal(store.sizes.guards, 1000, 'only the live ones are left')
})

t.test('a guard that was rewritten with a later end is not forgotten at its first end', async (t) => {
  const clock = manualClock(startMs)
  const store = createMemoryStore(clock, { entriesMax: 10 })
  await store.claimGuard(name(0), value, 1000)
  store.putGuard(name(0), value, 600_000)
  for (let i = 1; i < 200; i += 1) {
    clock.advance(2500)
    await store.claimGuard(name(i), value, 2000)
    t.same(await store.readGuard(name(0)), value)
  }
  clock.advance(200_000)
  for (let i = 200; i < 300; i += 1) {
    clock.advance(2500)
    await store.claimGuard(name(i), value, 2000)
  }
  t.equal(await store.readGuard(name(0)), undefined)
  t.ok(store.sizes.guards <= 2)
})

t.test('guards of mixed lives, held against a plain table, always agree', async (t) => {
  const step = fc.record({
    which: fc.integer({ min: 0, max: 20 }),
    act: fc.constantFrom('claim', 'put', 'read'),
    ttl: fc.integer({ min: 1, max: 9000 }),
    passed: fc.integer({ min: 0, max: 3000 }),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 50, maxLength: 300 }), async (steps) => {
      const clock = manualClock(startMs)
      const store = createMemoryStore(clock, { entriesMax: 21 })
      const plain = new Map<number, { bytes: Buffer; until: number }>()
      for (const [i, { which, act, ttl, passed }] of steps.entries()) {
        clock.advance(passed)
        const standing = plain.get(which)
        const live = standing && standing.until > clock.mono() ? standing.bytes : undefined
        const written = { bytes: name(i).subarray(0, 41), until: clock.mono() + ttl }
        if (act === 'put') store.putGuard(name(which), written.bytes, ttl)
        else {
          const call =
            act === 'claim' ? store.claimGuard(name(which), written.bytes, ttl) : store.readGuard(name(which))
          assert.deepEqual(await call, live)
        }
        if (act === 'put' || (act === 'claim' && !live)) plain.set(which, written)
      }
      assert.equal(store.writesLost, 0)
    }),
    { numRuns: 100 },
  )
  t.pass('100 random histories')
})

t.test('the oldest answers give way, and a rewritten one counts as new', async (t) => {
  const store = createMemoryStore(manualClock(startMs), { entriesMax: 3 })
  for (const key of ['a', 'b', 'c']) store.putAnswer(key, value, 1000)
  store.putAnswer('a', value, 1000)
  store.putAnswer('d', value, 1000)
  t.same(await store.readAnswers(['a', 'b', 'c', 'd']), [value, undefined, value, value])
  t.equal(store.sizes.answers, 3)
})

t.test('answers that ended are forgotten as new ones come', async (t) => {
  const clock = manualClock(startMs)
  const store = createMemoryStore(clock)
  for (let i = 0; i < 100; i += 1) store.putAnswer(`old${i}`, value, 1000)
  clock.advance(1001)
  for (let i = 0; i < 100; i += 1) store.putAnswer(`new${i}`, value, 1000)
  t.equal(store.sizes.answers, 100)
})

t.test('a step of the wall clock ends no guard', async (t) => {
  let wall = startMs
  const store = createMemoryStore({ now: () => wall, mono: () => 5 })
  await store.claimGuard(name(0), value, 1000)
  wall += 86_400_000
  t.same(await store.readGuard(name(0)), value)
})

t.test('the warning says what the embedded store does not survive', async (t) => {
  t.match(memoryStoreWarning, /restart/)
  t.match(memoryStoreWarning, /second process/)
})
