// Token buckets: what passes in a second, in a burst, and for whom.
import fc from 'fast-check'
import t from 'tap'
import { createBuckets } from '../../src/base/buckets.ts'
import { manualClock } from '../../src/base/clock.ts'

type Given = { windowS?: number; share?: () => number; namesMax?: number }

function open(quota: number, { namesMax = 1000, ...given }: Given = {}) {
  const clock = manualClock(0)
  const buckets = createBuckets({ policy: 'test', quota, clock, namesMax, ...given })
  /** How many of `tries` at this instant pass. */
  const passing = (name: string, tries: number) => {
    let passed = 0
    for (let i = 0; i < tries; i++) if (buckets.take(name)) passed++
    return passed
  }
  return { clock, buckets, passing }
}

t.test('a burst of one second’s worth passes, and then one more each 1/rate s', (t) => {
  const { clock, passing } = open(5)
  t.equal(passing('a', 20), 5)
  clock.advance(199)
  t.equal(passing('a', 20), 0, 'a moment too early')
  clock.advance(1)
  t.equal(passing('a', 20), 1)
  clock.advance(600)
  t.equal(passing('a', 20), 3)
  t.end()
})

t.test('a long rest saves up no more than one burst', (t) => {
  const { clock, passing } = open(5)
  passing('a', 20)
  clock.advance(3_600_000)
  t.equal(passing('a', 20), 5)
  t.end()
})

t.test('asking in vain costs nothing: who keeps asking is let through on time', (t) => {
  const { clock, passing } = open(1)
  passing('a', 1)
  for (let ms = 0; ms < 990; ms += 10) {
    t.equal(passing('a', 10), 0)
    clock.advance(10)
  }
  clock.advance(10)
  t.equal(passing('a', 10), 1)
  t.end()
})

t.test('below one a second a burst is one', (t) => {
  for (const { clock, passing } of [open(0.5), open(30, { windowS: 60 })]) {
    t.equal(passing('a', 5), 1)
    clock.advance(1999)
    t.equal(passing('a', 5), 0)
    clock.advance(1)
    t.equal(passing('a', 5), 1)
  }
  t.end()
})

t.test('a quota of a minute passes evenly, with a burst of a second of it', (t) => {
  const { clock, passing } = open(600, { windowS: 60 })
  t.equal(passing('a', 700), 10)
  let passed = 0
  for (let s = 0; s < 60; s++) {
    clock.advance(1000)
    passed += passing('a', 700)
  }
  t.equal(passed, 600)
  t.end()
})

t.test('nodes that live share a limit: a smaller part counts at once, and a greater one', (t) => {
  let share = 1
  const { clock, passing } = open(8, { share: () => share })
  t.equal(passing('a', 20), 8)
  share = 0.25
  clock.advance(1000)
  t.equal(passing('a', 20), 2)
  share = 0.5
  t.equal(passing('b', 20), 4, 'a name that is new begins with the part of now')
  clock.advance(1000)
  t.equal(passing('a', 20), 4)
  t.end()
})

t.test('what is saved up is cut to a burst of the part that is left', (t) => {
  let share = 1
  const { passing } = open(100, { share: () => share })
  t.equal(passing('a', 1), 1)
  share = 0.1
  t.equal(passing('a', 200), 10)
  t.end()
})

t.test(
  'who must take one is refused by the name of the policy, with the limit and when to come again',
  (t) => {
    const { buckets, clock } = open(2)
    buckets.mustTake('a')
    buckets.mustTake('a')
    const refused = { name: 'GatewayError', code: 'rate_limited', reason: 'test' }
    t.throws(() => buckets.mustTake('a'), {
      ...refused,
      rate: { policy: 'test', quota: 2, windowS: 1, resetS: 1 },
    })
    clock.advance(500)
    t.doesNotThrow(() => buckets.mustTake('a'))
    t.throws(() => buckets.mustTake('a'), refused)
    t.end()
  },
)

t.test('who comes again when told to is let through', (t) => {
  const table: [quota: number, given: Given, resetS: number][] = [
    [1, {}, 1],
    [30, { windowS: 60 }, 2],
    [1, { windowS: 60 }, 60],
    [1, { share: () => 1 / 3 }, 3],
    [7, { windowS: 60, share: () => 0.5 }, 18],
  ]
  for (const [quota, given, resetS] of table) {
    const { buckets, clock } = open(quota, given)
    buckets.mustTake('a')
    const rate = { policy: 'test', quota, windowS: given.windowS ?? 1, resetS }
    t.throws(() => buckets.mustTake('a'), { code: 'rate_limited', rate }, `${quota} in ${rate.windowS} s`)
    clock.advance(resetS * 1000)
    t.doesNotThrow(() => buckets.mustTake('a'))
  }
  t.end()
})

t.test('names do not share, whatever they are', (t) => {
  const { passing } = open(3)
  for (const name of [
    'a',
    'b',
    '',
    '__proto__',
    'constructor',
    'a\0',
    'swift-crane/harbour',
    'é',
    'e\u0301',
  ]) {
    t.equal(passing(name, 10), 3, JSON.stringify(name))
  }
  t.equal(passing('a', 10), 0)
  t.end()
})

t.test('in no time span more passes than its worth and one burst', (t) => {
  const steps = fc.array(fc.tuple(fc.nat(1500), fc.nat(6)), { minLength: 1, maxLength: 60 })
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 8 }), steps, (perSecond, given) => {
      const { clock, passing } = open(perSecond)
      const taken = given.map(([ms, tries]) => {
        clock.advance(ms)
        return { at: clock.mono(), passed: passing('a', tries) }
      })
      return taken.every((from, i) => {
        let sum = 0
        return taken.slice(i).every((each) => {
          sum += each.passed
          return sum <= perSecond + ((each.at - from.at) * perSecond) / 1000 + 1e-6
        })
      })
    }),
  )
  t.end()
})

t.test('names are bounded: the one longest unused is forgotten, those in use are not', (t) => {
  const { passing } = open(1, { namesMax: 3 })
  for (const name of ['a', 'b', 'c']) t.equal(passing(name, 5), 1)
  t.equal(passing('a', 1), 0, 'a is used again, though in vain')
  t.equal(passing('d', 5), 1, 'd takes the place of b')
  t.equal(passing('a', 5), 0)
  t.equal(passing('c', 5), 0)
  t.equal(passing('b', 5), 1, 'b begins anew')
  t.end()
})

t.test('a flood of names leaves the one that keeps asking where it is', (t) => {
  const { passing } = open(1, { namesMax: 10 })
  t.equal(passing('busy', 1), 1)
  for (let i = 0; i < 1000; i++) {
    passing(`passer-by ${i}`, 1)
    if (passing('busy', 1) === 1) t.fail(`forgotten after ${i}`)
  }
  t.pass('never let through')
  t.end()
})
