// The change feed of a node: freshness, gaps, emptied windows, and who was named since (PROTOCOL sections 8, 11).
import { setImmediate as turn } from 'node:timers/promises'
import fc from 'fast-check'
import t from 'tap'
import { manualClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { Feed } from '../../src/bureau/feed.ts'
import type { FeedChange, FeedPage } from '../../src/bureau/protocol.ts'

const startMs = Date.UTC(2026, 10, 23, 12)
const serialA = Buffer.alloc(16, 1)
const who = { docType: 'ID', state: 'CHN', number: '78000119900101001X', serial: serialA }
const other = { ...who, number: '780001199001010028', serial: Buffer.alloc(16, 2) }

const changeOf = (position: number, more: Partial<FeedChange> = {}): FeedChange => ({
  position,
  kind: 'card_lost',
  docType: 'ID',
  issuingState: 'CHN',
  number: `filler ${position}`,
  ...more,
})
const byNumber = (position: number) => changeOf(position, { kind: 'deceased', number: who.number })
function bySerial(position: number): FeedChange {
  const { number, ...change } = changeOf(position, { serial: serialA.toString('base64url') })
  return change
}

/** A bureau that publishes what `publish` is given; the next replies can be replaced by `reply`. */
function createRig() {
  const clock = manualClock(startMs)
  const errors: string[] = []
  const asked: (number | undefined)[] = []
  const replies: (() => Promise<FeedPage | 'gone'>)[] = []
  const bureau = { first: 1, changes: [] as FeedChange[], pageMax: limits.feedPageMax as number }
  const head = () => bureau.changes.at(-1)?.position ?? bureau.first - 1
  const page = (after: number | undefined): FeedPage | 'gone' => {
    if (after !== undefined && after < bureau.first - 1) return 'gone'
    const later = bureau.changes.filter((c) => c.position >= bureau.first && c.position > (after ?? -1))
    return { first: bureau.first, head: head(), changes: later.slice(0, bureau.pageMax) }
  }
  const feed = new Feed({
    clock,
    onError: (cause) => errors.push((cause as Error).message),
    async fetchPage(after) {
      asked.push(after)
      const reply = replies.shift()
      return reply ? reply() : page(after)
    },
  })
  return {
    clock,
    errors,
    asked,
    replies,
    bureau,
    feed,
    page,
    publish: (c: FeedChange) => bureau.changes.push(c),
  }
}

const fail = async (): Promise<FeedPage> => {
  throw new Error('bureau down')
}

t.test('nothing is fresh or covered before the first poll', async (t) => {
  const { feed } = createRig()
  t.equal(feed.isFresh(), false)
  t.equal(feed.covers(0), false)
  t.equal(feed.position(), 0)
  t.equal(feed.changedSince(0, who), false)
})

t.test('an empty feed is fresh for less than 750 ms from the begin of the poll', async (t) => {
  const { feed, clock, replies, page } = createRig()
  replies.push(async () => {
    clock.advance(300) // The reply takes its time: freshness counts from when it was asked for.
    return page(undefined)
  })
  await feed.poll()
  t.equal(feed.isFresh(), true)
  t.equal(feed.covers(0), true)
  clock.advance(449)
  t.equal(feed.isFresh(), true)
  clock.advance(1)
  t.equal(feed.isFresh(), false)
  await feed.poll()
  t.equal(feed.isFresh(), true)
})

t.test('a change is found by number and by card, only after its position and only for its own', async (t) => {
  const { feed, publish } = createRig()
  publish(changeOf(1))
  publish(byNumber(2))
  publish(changeOf(3))
  await feed.poll()
  t.equal(feed.position(), 3)
  t.equal(feed.changedSince(1, who), true)
  t.equal(feed.changedSince(2, who), false, 'the answer was asked for after it')
  t.equal(feed.changedSince(0, other), false)
  t.equal(feed.changedSince(1, { ...other, number: who.number.toLowerCase() }), true, 'x is read as X')
  t.equal(feed.changedSince(1, { ...who, state: 'MAC', serial: other.serial }), false)
  t.equal(feed.changedSince(1, { ...who, docType: 'P', serial: other.serial }), false)
  publish(bySerial(4))
  await feed.poll()
  t.equal(feed.changedSince(3, { ...other, serial: serialA }), true)
  t.equal(feed.changedSince(3, other), false)
  t.equal(feed.changedSince(4, who), false)
})

t.test('pages are read up to the head, and freshness is of the last one', async (t) => {
  const { feed, asked, bureau, publish, clock, replies, page } = createRig()
  bureau.pageMax = 10
  for (let n = 1; n <= 35; n++) publish(changeOf(n))
  for (const after of [undefined, 10, 20, 30])
    replies.push(async () => {
      clock.advance(400)
      return page(after)
    })
  await feed.poll()
  t.same(asked, [undefined, 10, 20, 30])
  t.equal(feed.position(), 35)
  t.equal(feed.isFresh(), true)
  clock.advance(350)
  t.equal(feed.isFresh(), false)
})

t.test('a node covers what lies between its oldest and its last position, and nothing else', async (t) => {
  const { feed, bureau, publish } = createRig()
  bureau.first = 41
  for (let n = 41; n <= 50; n++) publish(changeOf(n))
  await feed.poll()
  for (const at of [40, 45, 50]) t.equal(feed.covers(at), true, `position ${at}`)
  for (const at of [0, 39, 51]) t.equal(feed.covers(at), false, `position ${at}`)
})

t.test('a page that does not begin at the oldest on offer is not taken for all there is', async (t) => {
  const { feed, replies } = createRig()
  replies.push(async () => ({ first: 1, head: 9, changes: [changeOf(8), changeOf(9)] }))
  await feed.poll()
  t.equal(feed.covers(6), false)
  t.equal(feed.covers(7), true)
})

t.test('an error leaves the feed stale, keeps what is known, and the next poll makes it good', async (t) => {
  const { feed, replies, publish, clock } = createRig()
  publish(byNumber(1))
  await feed.poll()
  clock.advance(400)
  replies.push(fail)
  await t.rejects(feed.poll(), { message: 'bureau down' })
  clock.advance(350)
  t.equal(feed.isFresh(), false)
  t.equal(feed.changedSince(0, who), true)
  t.equal(feed.covers(1), true)
  await feed.poll()
  t.equal(feed.isFresh(), true)
})

const broken: [string, (after: number) => FeedPage][] = [
  ['a gap', () => ({ first: 1, head: 5, changes: [changeOf(3), changeOf(5)] })],
  ['a gap at the begin', () => ({ first: 1, head: 4, changes: [changeOf(4)] })],
  ['a repetition', () => ({ first: 1, head: 4, changes: [changeOf(3), changeOf(3)] })],
  ['the wrong order', () => ({ first: 1, head: 4, changes: [changeOf(4), changeOf(3)] })],
  ['an end before the head', () => ({ first: 1, head: 9, changes: [] })],
  ['a change of nobody', () => ({ first: 1, head: 3, changes: [nameless(3)] })],
]
function nameless(position: number): FeedChange {
  const { number, ...change } = changeOf(position)
  return change
}
for (const [what, make] of broken) {
  t.test(`a page with ${what} is refused and does not make the feed fresh`, async (t) => {
    const { feed, replies, publish, clock } = createRig()
    publish(changeOf(1))
    publish(changeOf(2))
    await feed.poll()
    clock.advance(800)
    replies.push(async () => make(2))
    await t.rejects(feed.poll())
    t.equal(feed.isFresh(), false)
    t.equal(feed.covers(4), false)
  })
}

t.test('410 empties the window, which begins anew where the bureau does', async (t) => {
  const { feed, bureau, publish, errors, asked } = createRig()
  publish(byNumber(1))
  await feed.poll()
  bureau.first = 11
  for (let n = 2; n <= 12; n++) publish(changeOf(n))
  await feed.poll()
  t.same(asked, [undefined, 1, undefined])
  t.equal(feed.position(), 12)
  t.equal(feed.covers(9), false)
  t.equal(feed.covers(10), true)
  t.equal(feed.changedSince(0, who), false, 'which is why 0 is not covered')
  t.equal(feed.isFresh(), true)
  t.same(errors, ['the feed begins anew'])
})

t.test('an oldest position beyond our own is a gap, though the bureau did not say 410', async (t) => {
  const { feed, replies, publish, asked } = createRig()
  publish(changeOf(1))
  await feed.poll()
  replies.push(async () => ({ first: 4, head: 4, changes: [changeOf(4)] }))
  replies.push(async () => ({ first: 4, head: 4, changes: [changeOf(4)] }))
  await feed.poll()
  t.same(asked, [undefined, 1, undefined])
  t.equal(feed.covers(2), false)
  t.equal(feed.covers(3), true)
})

t.test('a bureau that says 410 to everything is an error, not a loop', async (t) => {
  const { feed, replies } = createRig()
  for (let n = 0; n < 10; n++) replies.push(async () => 'gone')
  await t.rejects(feed.poll(), { message: 'the feed does not hold still' })
  t.equal(replies.length, 9)
})

t.test('a head that goes backwards empties the window, and old positions do not pass for new', async (t) => {
  const { feed, bureau, publish, clock } = createRig()
  for (let n = 1; n <= 100; n++) publish(changeOf(n))
  await feed.poll()
  t.equal(feed.covers(60), true)
  bureau.changes = [byNumber(1), changeOf(2)]
  await feed.poll()
  t.equal(feed.position(), 2)
  t.equal(feed.changedSince(0, who), true)
  for (const at of [0, 2, 60, 100])
    t.equal(feed.covers(at), false, `position ${at} could be of the old numbering`)
  for (let n = 3; n <= 120; n++) publish(changeOf(n))
  await feed.poll()
  t.equal(feed.covers(60), false, 'not even when the new numbering reaches them')
  t.equal(feed.covers(101), true)
  clock.advance(limits.feedWindowMs)
  t.equal(feed.covers(60), true, 'until nothing cached can be so old')
})

t.test('after 48 h a change is forgotten, and what was asked before it is no longer covered', async (t) => {
  const { feed, publish, clock } = createRig()
  publish(byNumber(1))
  publish(changeOf(2))
  await feed.poll()
  clock.advance(limits.feedWindowMs / 2)
  publish(bySerial(3))
  await feed.poll()
  clock.advance(limits.feedWindowMs / 2)
  await feed.poll()
  t.equal(feed.covers(0), true)
  clock.advance(1)
  await feed.poll()
  t.equal(feed.covers(1), false)
  t.equal(feed.covers(2), true)
  t.equal(feed.changedSince(2, who), true, 'the later change is kept')
  t.equal(feed.position(), 3)
})

t.test('a change whose key was named again survives the forgetting of the first', async (t) => {
  const { feed, publish, clock } = createRig()
  publish(byNumber(1))
  await feed.poll()
  clock.advance(1000)
  publish(byNumber(2))
  await feed.poll()
  clock.advance(limits.feedWindowMs - 500)
  await feed.poll()
  t.equal(feed.covers(0), false)
  t.equal(feed.changedSince(1, who), true)
})

t.test('a poll that hangs does not keep the next from making the feed fresh', async (t) => {
  const { feed, replies, publish, clock } = createRig()
  publish(changeOf(1))
  await feed.poll()
  let answer: (page: FeedPage) => void = () => {}
  replies.push(() => new Promise((resolve) => (answer = resolve)))
  const hung = feed.poll()
  clock.advance(760)
  publish(changeOf(2))
  publish(byNumber(3))
  await feed.poll()
  t.equal(feed.isFresh(), true)
  t.equal(feed.changedSince(2, who), true)
  answer({ first: 1, head: 2, changes: [changeOf(2)] }) // What it was when the slow poll was asked.
  await hung
  t.equal(feed.position(), 3, 'late news takes nothing back')
  t.equal(feed.isFresh(), true)
})

t.test('a late page of an emptied window does not enter the new one', async (t) => {
  const { feed, replies, publish, bureau } = createRig()
  for (let n = 1; n <= 5; n++) publish(changeOf(n))
  await feed.poll()
  let answer: (page: FeedPage) => void = () => {}
  replies.push(() => new Promise((resolve) => (answer = resolve)))
  const hung = feed.poll()
  bureau.changes = [changeOf(1)]
  await feed.poll()
  for (let n = 2; n <= 6; n++) publish(changeOf(n))
  await feed.poll()
  answer({ first: 1, head: 7, changes: [changeOf(6), byNumber(7)] })
  await hung
  t.equal(feed.position(), 6)
  t.equal(feed.changedSince(0, who), false)
})

t.test('at most two polls are under way', async (t) => {
  const { feed, replies, asked } = createRig()
  const answers: ((page: FeedPage) => void)[] = []
  for (let n = 0; n < 4; n++) replies.push(() => new Promise((resolve) => answers.push(resolve)))
  const polls = [feed.poll(), feed.poll(), feed.poll(), feed.poll()]
  await turn()
  t.equal(asked.length, 2)
  for (const answer of answers) answer({ first: 1, head: 0, changes: [] })
  await Promise.all(polls)
})

t.test('start polls at least every 500 ms, survives a bureau that is down, and close ends it', async (t) => {
  const clock = { now: () => startMs, mono: () => performance.now() }
  const begun: number[] = []
  const errors: unknown[] = []
  const feed = new Feed({
    clock,
    onError: (cause) => errors.push(cause),
    async fetchPage() {
      begun.push(clock.mono())
      if (begun.length < 3) throw new Error('bureau down')
      return { first: 1, head: 0, changes: [] }
    },
  })
  await feed.start()
  t.equal(feed.isFresh(), false, 'start goes on without the bureau')
  await new Promise((resolve) => setTimeout(resolve, 1500))
  t.equal(feed.isFresh(), true)
  t.equal(errors.length, 2)
  for (let n = 1; n < begun.length; n++)
    t.ok((begun[n] as number) - (begun[n - 1] as number) < 500, 'a poll begins within 500 ms of the last')
  await feed.close()
  const { length } = begun
  await new Promise((resolve) => setTimeout(resolve, 500))
  t.equal(begun.length, length)
})

t.test('whatever the order of news, polls and failures: no later change is ever missed', async (t) => {
  const step = fc.oneof(
    { weight: 6, arbitrary: fc.record({ what: fc.constant('publish'), n: fc.nat(5) }) },
    { weight: 4, arbitrary: fc.record({ what: fc.constant('poll'), n: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('fail'), n: fc.constant(0) }) },
    { weight: 1, arbitrary: fc.record({ what: fc.constant('forget'), n: fc.nat(10) }) },
    {
      weight: 1,
      arbitrary: fc.record({ what: fc.constant('advance'), n: fc.nat(limits.feedWindowMs / 3600) }),
    },
  )
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { maxLength: 60 }),
      fc.integer({ min: 1, max: 4 }),
      async (steps, pageMax) => {
        const { feed, bureau, replies, publish, clock } = createRig()
        bureau.pageMax = pageMax
        let last = 0
        const people = Array.from({ length: 6 }, (_, n) => ({
          ...who,
          number: `person ${n}`,
          serial: Buffer.alloc(16, n),
        }))
        const history: { position: number; n: number }[] = []
        for (const { what, n } of steps) {
          if (what === 'publish') {
            history.push({ position: ++last, n })
            publish(changeOf(last, { number: `PERSON ${n}` }))
          } else if (what === 'forget')
            bureau.first = Math.max(bureau.first, Math.min(last + 1, bureau.first + n))
          else if (what === 'advance') clock.advance(n * 3600)
          else {
            if (what === 'fail') replies.push(fail)
            await feed.poll().catch(() => {})
            replies.length = 0
          }
          if (!feed.isFresh()) continue
          for (let at = 0; at <= last; at++) {
            if (!feed.covers(at)) continue
            for (const [person, one] of people.entries()) {
              const known = history.some(
                (h) => h.n === person && h.position > at && h.position <= feed.position(),
              )
              if (known && !feed.changedSince(at, one)) return false
            }
          }
        }
        return true
      },
    ),
    { numRuns: 1000 },
  )
  t.pass('1000 histories')
})
