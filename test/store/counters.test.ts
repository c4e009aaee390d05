// Counts of one process: exact against a plain model, and bounded by forgetting who was quiet longest.
import assert from 'node:assert/strict'
import fc from 'fast-check'
import t from 'tap'
import { limits } from '../../src/base/limits.ts'
import { createCounters } from '../../src/store/counters.ts'

const device = (i: number) => {
  const bytes = Buffer.alloc(16)
  bytes.writeUInt32BE(i)
  return bytes
}
const person = (i: number) => {
  const bytes = Buffer.alloc(8)
  bytes.writeUInt32BE(i)
  return bytes
}

t.test('refusals of random minutes, held against a list of all, always agree', async (t) => {
  const step = fc.record({ who: fc.integer({ min: 0, max: 3 }), passed: fc.integer({ min: 0, max: 4 }) })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 100 }), async (steps) => {
      const counters = createCounters()
      const all: { who: number; minute: number }[] = []
      let minute = 1000
      for (const { who, passed } of steps) {
        minute += passed
        all.push({ who, minute })
        const plain = all.filter(
          (one) => one.who === who && one.minute > minute - limits.refusalMinutes,
        ).length
        assert.equal(await counters.addRefusal(device(who), minute), plain)
      }
    }),
    { numRuns: 200 },
  )
  t.pass('200 random histories')
})

t.test('people of random days, held against plain sets, always agree', async (t) => {
  const step = fc.record({
    who: fc.integer({ min: 0, max: 3 }),
    person: fc.integer({ min: 0, max: 12 }),
    passed: fc.constantFrom(0, 0, 0, 0, 0, 1, 1, 3, 8),
  })
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 200 }), async (steps) => {
      const counters = createCounters()
      const all = new Map<string, Set<number>>()
      let day = 20_000
      for (const { who, person: which, passed } of steps) {
        day += passed
        const place = `${who}/${day}`
        const names = all.get(place) ?? new Set()
        all.set(place, names.add(which))
        assert.equal(await counters.addPerson(device(who), day, person(which)), names.size)
        const days = Array.from({ length: 8 }, (_, i) => day - i)
        assert.deepEqual(
          await counters.readPeople(device(who), days),
          days.map((one) => all.get(`${who}/${one}`)?.size ?? 0),
        )
      }
    }),
    { numRuns: 200 },
  )
  t.pass('200 random histories')
})

t.test('who comes late to a day that is over is not counted, and told the count', async (t) => {
  const counters = createCounters()
  await counters.addPerson(device(0), 5, person(0))
  await counters.addPerson(device(0), 6, person(0))
  t.equal(await counters.addPerson(device(0), 5, person(1)), 1)
  t.same(await counters.readPeople(device(0), [5, 6]), [1, 1])
})

t.test('beyond the people held at once, the device that was quiet longest is forgotten', async (t) => {
  const counters = createCounters(100)
  for (let i = 0; i < 40; i += 1) await counters.addPerson(device(0), 5, person(i))
  for (let i = 0; i < 60; i += 1) await counters.addPerson(device(1), 5, person(i))
  await counters.addPerson(device(0), 5, person(0)) // Known already, but no longer quiet.
  t.equal(await counters.addPerson(device(2), 5, person(0)), 1)
  const counts = async () =>
    (await Promise.all([0, 1, 2].map((i) => counters.readPeople(device(i), [5])))).flat()
  t.same(await counts(), [40, 0, 1])
  for (let i = 1; i < 200; i += 1) await counters.addPerson(device(2), 5, person(i))
  t.same(await counts(), [0, 0, 100], 'one device cannot have more than all')
  t.equal(await counters.addPerson(device(2), 6, person(0)), 1, 'a new day has room again')
  t.same(await counters.readPeople(device(2), [5]), [100])
})

t.test('devices are bounded, in refusals and in people', async (t) => {
  const counters = createCounters()
  const devices = limits.countedDevicesMax + 1
  for (let i = 0; i < devices; i += 1) {
    await counters.addPerson(device(i), 5, person(0))
    await counters.addRefusal(device(i), 5)
  }
  t.same(await counters.readPeople(device(0), [5]), [0])
  t.same(await counters.readPeople(device(1), [5]), [1])
  t.equal(await counters.addRefusal(device(0), 5), 1)
  t.equal(await counters.addRefusal(device(2), 5), 2)
})
