// When a list is fetched: one flight at a time, early, at least every so often, and with a pause that grows. By the test clock.
import t from 'tap'
import { manualClock } from '../src/base/clock.ts'
import { limits } from '../src/base/limits.ts'
import { type FetchOutcome, ListFetcher } from '../src/list-fetcher.ts'

const startMs = Date.UTC(2026, 10, 24, 3)
const minuteMs = 60_000
const everyMs = 15 * minuteMs

/** A fetcher whose server gives what `answer` says, and the moments at which it was asked, ms since the start. */
function follow(given: {
  endMs?: number
  share?: number
  answer?: (ask: number) => { outcome: FetchOutcome; endMs?: number }
}) {
  const { share = 0.5 } = given
  const clock = manualClock(startMs)
  let endMs = given.endMs
  const asked: number[] = []
  const fetcher = new ListFetcher({
    ...{ clock, random: () => share, everyMs },
    endMs: () => endMs,
    async fetch() {
      asked.push(clock.mono())
      const got = given.answer?.(asked.length)
      endMs = got?.endMs ?? endMs
      return got?.outcome ?? 'same'
    },
  })
  /** Lets time pass second by second, as the gateway's timer does. */
  async function pass(ms: number, each: () => void = () => {}) {
    for (let passedMs = 0; passedMs < ms; passedMs += 1000) {
      fetcher.tick()
      each()
      await fetcher.settled()
      clock.advance(1000)
    }
  }
  return { clock, fetcher, asked, pass }
}

t.test('without a list it asks at once, with one soon, and not all nodes at the same moment', async (t) => {
  const bare = follow({ answer: () => ({ outcome: 'newer', endMs: startMs + 60 * minuteMs }) })
  await bare.pass(1000)
  t.same(bare.asked, [0])
  const first = [0, 0.25, 0.5, 0.75, 0.999].map(async (share) => {
    const node = follow({ share, endMs: startMs + 60 * minuteMs })
    await node.pass(limits.cardListStartMs + 1000)
    return node.asked[0]
  })
  t.same(await Promise.all(first), [0, 3000, 5000, 8000, 10_000])
})

t.test('a hundred who find a list stale, and a timer, make one request', async (t) => {
  let release = () => {}
  const gate = new Promise<void>((resolve) => {
    release = resolve
  })
  let asked = 0
  const fetcher = new ListFetcher({
    ...{ clock: manualClock(startMs), random: () => 0, everyMs, endMs: () => startMs + 60 * minuteMs },
    async fetch() {
      asked++
      await gate
      return 'newer'
    },
  })
  for (let i = 0; i < 100; i++) {
    fetcher.hurry()
    fetcher.tick()
  }
  t.equal(asked, 1)
  release()
  await fetcher.settled()
  for (let i = 0; i < 100; i++) fetcher.hurry()
  t.equal(asked, 1, 'nor does it ask again right after')
})

t.test('a list is fetched anew at least every so often, a little less with jitter', async (t) => {
  for (const [share, stepMs] of [
    [0, everyMs],
    [0.5, 0.875 * everyMs],
    [0.96, 0.76 * everyMs],
  ] as const) {
    const node = follow({ share, endMs: startMs + 30 * 24 * 60 * minuteMs })
    await node.pass(60 * minuteMs)
    const steps = node.asked.slice(1).map((at, i) => at - (node.asked[i] as number))
    t.ok(steps.length >= 3)
    for (const step of steps) t.ok(step >= stepMs && step <= stepMs + 1000, `${step} ms`)
  }
})

t.test('a list of a short life is fetched at 50 to 75 % of it', async (t) => {
  for (const [share, earlyMs] of [
    [0, 5 * minuteMs],
    [0.5, 6.25 * minuteMs],
    [0.99, 7.475 * minuteMs],
  ] as const) {
    const node = follow({
      share,
      // Each answer is a new list of ten minutes.
      answer: (ask) => ({ outcome: 'newer', endMs: ask === 1 ? startMs + 10 * minuteMs : startMs + 1e9 }),
    })
    await node.pass(10 * minuteMs)
    t.equal(node.asked.length, 2)
    t.ok(Math.abs((node.asked[1] ?? 0) - earlyMs) <= 1000, `${node.asked[1]} ms`)
  }
})

t.test('while the server has no newer list, tries come closer until the list ends', async (t) => {
  const node = follow({ share: 0, endMs: startMs + 10 * minuteMs })
  await node.pass(10 * minuteMs)
  const before = node.asked.filter((at) => at < 10 * minuteMs)
  t.ok(before.length >= 5, `${before.length} tries: ${before}`)
  const gaps = before.slice(1).map((at, i) => at - (before[i] as number))
  for (const gap of gaps) t.ok(gap >= limits.cardListCooldownMs, 'but never closer than the pause')
})

t.test('failures are followed by pauses that double up to ten minutes, whoever asks', async (t) => {
  for (const outcome of ['failed', 'refused'] as const) {
    const node = follow({ share: 0, answer: () => ({ outcome }) })
    await node.pass(60 * minuteMs, () => {
      for (let i = 0; i < 100; i++) node.fetcher.hurry()
    })
    const gaps = node.asked.slice(1).map((at, i) => (at - (node.asked[i] as number)) / 1000)
    t.same(gaps, [30, 60, 120, 240, 480, 600, 600, 600, 600], `${node.asked.length} requests in an hour`)
  }
  const shaken = follow({ share: 0.8, answer: () => ({ outcome: 'failed' }) })
  await shaken.pass(5 * minuteMs)
  t.same(shaken.asked.slice(0, 3), [0, 42_000, 126_000], 'up to half as long again')
})

t.test('a server that gives only a list that has ended is one that fails', async (t) => {
  const node = follow({ share: 0, answer: () => ({ outcome: 'same', endMs: startMs - 1000 }) })
  await node.pass(8 * minuteMs)
  t.same(node.asked, [0, 30_000, 90_000, 210_000, 450_000])
})

t.test('after a failure that is over, pauses begin anew', async (t) => {
  const node = follow({
    share: 0,
    answer: (ask) =>
      ask === 3 ? { outcome: 'newer', endMs: startMs + 5 * minuteMs } : { outcome: 'failed' },
  })
  await node.pass(6 * minuteMs)
  // 90 s: a list of 3.5 minutes more; half of that later it fails again.
  t.same(node.asked, [0, 30_000, 90_000, 195_000, 225_000, 285_000])
})

t.test('a list found to be stale is fetched at once, though nothing was due', async (t) => {
  let endMs = startMs + 60 * minuteMs
  let asked = 0
  const clock = manualClock(startMs)
  const fetcher = new ListFetcher({
    ...{ clock, random: () => 0, everyMs, endMs: () => endMs },
    async fetch() {
      asked++
      return 'same'
    },
  })
  fetcher.tick()
  await fetcher.settled()
  clock.advance(limits.cardListCooldownMs)
  fetcher.tick()
  t.equal(asked, 1)
  endMs = startMs // As a wall clock set forward would have it.
  fetcher.hurry()
  t.equal(asked, 2)
  await fetcher.settled()
})
