// Misuse of a device: what is counted and what is not, when it is suspended and how often, and what a lost store
// changes. The clock is the test's.
import { createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { dayMs, epochOf, manualClock } from '../../src/base/clock.ts'
import { createMemoryStore } from '../../src/store/memory.ts'
import { type Counters, StoreUnavailable } from '../../src/store/store.ts'
import { createMisuse, nameForDevice } from '../../src/verify/misuse.ts'
import type { Alert, MisuseReason } from '../../src/verify/services.ts'

const startMs = Date.UTC(2026, 10, 24, 12)
const minuteMs = 60_000

const personAt = (i: number) => ({
  docType: 'ID' as const,
  state: 'CHN',
  number: String(780001199001010000n + BigInt(i)),
  name: '欧阳春晓',
  serial: Buffer.alloc(16, 0xa5),
  validTo: '20360101',
})

type Options = { refusals?: number; people?: number; hasKey?: boolean; counters?: Counters }

function open(options: Options = {}) {
  const clock = manualClock(startMs)
  const counters = options.counters ?? createMemoryStore(clock)
  const secret = createSecretKey(randomBytes(32))
  const suspended: { device: Buffer; reason: MisuseReason }[] = []
  const alerts: Alert[] = []
  const lost: unknown[] = []
  const keysTaken: number[] = []
  let suspend: () => Promise<void> = async () => {}
  const misuse = createMisuse({
    ...{ clock, counters },
    cacheKey(day) {
      keysTaken.push(day)
      return options.hasKey === false ? undefined : secret
    },
    misuseLimits: { refusals: options.refusals ?? 20, people: options.people ?? 400 },
    suspendDevice(device, reason) {
      suspended.push({ device, reason })
      return suspend()
    },
    alert: (alert) => alerts.push(alert),
    onStoreLost: (cause) => void lost.push(cause),
  })
  const device = randomBytes(16)
  const no = (of = device) => misuse.note({ device: of, refused: true, person: undefined })
  const yes = (i: number, of = device) => misuse.note({ device: of, refused: false, person: personAt(i) })
  return {
    ...{ clock, counters, device, misuse, suspended, alerts, lost, keysTaken, no, yes },
    async nos(count: number, of = device) {
      for (let i = 0; i < count; i += 1) await no(of)
    },
    /** People `from` to `to`, the last not included. */
    async people(from: number, to: number, of = device) {
      for (let i = from; i < to; i += 1) await yes(i, of)
    },
    onSuspend(act: () => Promise<void>) {
      suspend = act
    },
  }
}

/** A store that fails as `fail` does, whatever it is asked. */
const broken = (fail: () => Promise<never>): Counters => ({
  addRefusal: fail,
  addPerson: fail,
  readPeople: fail,
  forgetRefusals: fail,
  forgetPeople: fail,
})
const dead = async () => {
  throw new StoreUnavailable('down')
}

t.test('the 20th refusal suspends the device, with an alert; 19 do not', async (t) => {
  const m = open()
  await m.nos(19)
  t.same([m.suspended, m.alerts], [[], []])
  await m.no()
  t.same(m.suspended, [{ device: m.device, reason: 'refusals' }])
  t.same(m.alerts, [{ kind: 'device_refusals', device: m.device, count: 20, limit: 20 }])
  t.same(m.lost, [])
})

t.test('a yes is no refusal, and refusals of two devices do not add up', async (t) => {
  const m = open()
  await m.nos(19)
  await m.people(0, 30)
  await m.nos(19, randomBytes(16))
  t.same(m.suspended, [])
})

t.test('19 refusals and, eleven minutes later, 19 more do not suspend it', async (t) => {
  const m = open()
  await m.nos(19)
  m.clock.advance(11 * minuteMs)
  await m.nos(19)
  t.same(m.suspended, [])
  m.clock.advance(10 * minuteMs - 1)
  await m.no()
  t.equal(m.suspended.length, 1, 'a 20th within ten minutes of them does')
})

t.test('refusals are not counted where the limit is 0, and people neither', async (t) => {
  const m = open({ refusals: 0, people: 0, counters: broken(dead) })
  await m.nos(100)
  await m.people(0, 100)
  t.same([m.suspended, m.lost, m.keysTaken], [[], [], []])
})

t.test(
  'breaches at once are one suspension, and none follows while requests of before still end',
  async (t) => {
    const store = createMemoryStore(manualClock(startMs))
    // As over a network: all are being counted before the first of them suspends.
    const addRefusal = async (device: Buffer, minute: number) => {
      const count = await store.addRefusal(device, minute)
      await new Promise((next) => setTimeout(next, 5))
      return count
    }
    const m = open({ counters: { ...store, addRefusal } })
    const { promise, resolve } = Promise.withResolvers<void>()
    m.onSuspend(() => promise)
    const noted = Array.from({ length: 64 }, () => m.no())
    while (m.suspended.length === 0) await new Promise((next) => setImmediate(next))
    m.clock.advance(3000)
    await m.nos(20)
    t.equal(m.suspended.length, 1, 'while it is under way')
    resolve()
    await Promise.all(noted)
    await m.nos(44)
    m.clock.advance(4999)
    await m.nos(44)
    t.same([m.suspended.length, m.alerts.length], [1, 1], 'and for 5 s after it')
    m.clock.advance(1)
    await m.nos(19)
    t.equal(m.suspended.length, 1, 'what was refused meanwhile does not count either')
    await m.no()
    t.equal(m.suspended.length, 2)
  },
)

t.test('two devices are suspended at once', async (t) => {
  const m = open({ refusals: 1 })
  m.onSuspend(() => new Promise(() => {}))
  const other = randomBytes(16)
  void m.no()
  void m.no(other)
  while (m.suspended.length < 2) await new Promise((next) => setImmediate(next))
  t.same(m.suspended, [
    { device: m.device, reason: 'refusals' },
    { device: other, reason: 'refusals' },
  ])
})

t.test('a suspension that failed is tried again at the next refusal, and told again', async (t) => {
  const m = open()
  m.onSuspend(async () => {
    throw new Error('the registry is locked')
  })
  await m.nos(20)
  t.equal(m.suspended.length, 1)
  await m.no()
  t.same([m.suspended.length, m.alerts.length], [2, 2])
  m.onSuspend(async () => {})
  await m.no()
  await m.no()
  t.same([m.suspended.length, m.alerts.length], [3, 3], 'until it succeeds')
})

t.test('a suspension that never ends holds up the next for 10 s', async (t) => {
  const m = open()
  await m.nos(19)
  m.onSuspend(() => new Promise(() => {}))
  void m.no()
  while (m.suspended.length < 1) await new Promise((next) => setImmediate(next))
  m.clock.advance(9999)
  await m.no()
  t.equal(m.suspended.length, 1)
  m.clock.advance(1)
  void m.no()
  while (m.suspended.length < 2) await new Promise((next) => setImmediate(next))
  t.pass('then another is tried')
})

t.test('once reinstated, a device is counted from nothing', async (t) => {
  const m = open({ people: 30 })
  await m.nos(20)
  m.clock.advance(5000)
  await m.nos(19)
  t.equal(m.suspended.length, 1, 'within the same ten minutes')
  await m.no()
  t.equal(m.suspended.length, 2)
  m.clock.advance(5000)
  await m.people(0, 31)
  t.equal(m.suspended.length, 3)
  m.clock.advance(5000)
  await m.people(0, 30)
  t.equal(m.suspended.length, 3, 'on the same day')
  await m.yes(30)
  t.equal(m.suspended.length, 4)
})

t.test('a suspension for refusals forgets no people', async (t) => {
  const m = open({ people: 30 })
  await m.people(0, 30)
  await m.nos(20)
  m.clock.advance(5000)
  await m.yes(30)
  t.same(
    m.suspended.map(({ reason }) => reason),
    ['refusals', 'people'],
  )
})

t.test('one person is one, however often, and 400 people a day are nothing unusual', async (t) => {
  const m = open()
  for (let i = 0; i < 1000; i += 1) await m.yes(0)
  await m.people(0, 400)
  t.same(m.suspended, [])
  await m.yes(400)
  t.same(m.suspended, [{ device: m.device, reason: 'people' }])
  t.same(m.alerts, [{ kind: 'device_people', device: m.device, count: 401, limit: 400 }])
})

t.test('one person at 1,000 devices stops none: the asker is stopped, never the person', async (t) => {
  const m = open({ people: 1, refusals: 2 })
  for (let i = 0; i < 1000; i += 1) {
    await m.misuse.note({ device: randomBytes(16), refused: true, person: personAt(0) })
  }
  t.same([m.suspended, m.alerts], [[], []])
})

t.test('a refused person counts as one of the people, one whose chip was not right does not', async (t) => {
  const m = open({ people: 10, refusals: 0 })
  for (let i = 0; i < 10; i += 1) {
    await m.misuse.note({ device: m.device, refused: true, person: personAt(i) })
  }
  await m.nos(50)
  t.equal(m.suspended.length, 0)
  await m.misuse.note({ device: m.device, refused: true, person: personAt(10) })
  t.equal(m.suspended.length, 1)
})

t.test('a busy device may have four times its norm, of the days on which it worked', async (t) => {
  const m = open()
  const day = epochOf(startMs, dayMs)
  const [busy, slow] = [randomBytes(16), randomBytes(16)]
  // 150 and 250 a day on two of the last seven; what was eight days ago counts no more.
  for (const [ago, count] of [
    [8, 5000],
    [7, 150],
    [2, 250],
  ] as const) {
    for (let i = 0; i < count; i += 1) await m.counters.addPerson(busy, day - ago, randomBytes(8))
  }
  for (let i = 0; i < 120; i += 1) await m.counters.addPerson(slow, day - 1, randomBytes(8))
  await m.people(0, 800, busy)
  await m.people(0, 480, slow)
  t.same(m.suspended, [])
  await m.yes(800, busy)
  await m.yes(480, slow)
  t.same(
    m.alerts.map((alert) => alert.kind === 'device_people' && [alert.device, alert.count, alert.limit]),
    [
      [busy, 801, 800],
      [slow, 481, 480],
    ],
  )
})

t.test('people are counted by the day, and a new day begins with nobody', async (t) => {
  const m = open({ people: 50 })
  await m.people(0, 50)
  m.clock.advance(dayMs)
  await m.people(50, 100)
  t.same(m.suspended, [])
  t.same(
    await m.counters.readPeople(m.device, [epochOf(startMs, dayMs), epochOf(startMs, dayMs) + 1]),
    [50, 50],
  )
})

t.test('a name is eight bytes of the HMAC that openssl makes, of this device, day and person alone', (t) => {
  const secret = createSecretKey(Buffer.alloc(32, 1))
  const device = Buffer.alloc(16, 0x11)
  const who = { ...personAt(0), number: '78000119900101001X' }
  // openssl dgst -sha256 -mac HMAC -macopt hexkey:0101.. over 'vouchsafe/misuse/v1' 00 T2L{device, who}
  const name = nameForDevice(secret, device, who)
  t.equal(name.toString('hex'), 'c31786334085c7b5')
  const others = [
    nameForDevice(secret, Buffer.alloc(16, 0x12), who),
    nameForDevice(createSecretKey(Buffer.alloc(32, 2)), device, who),
    nameForDevice(secret, device, { ...who, number: '780001199001010028' }),
    nameForDevice(secret, device, { ...who, name: '欧阳春曉' }),
  ]
  t.equal(new Set([name, ...others].map((one) => one.toString('hex'))).size, 5)
  t.same(
    nameForDevice(secret, device, { ...who, number: '78000119900101001x' }),
    name,
    'one person, one name',
  )
  t.end()
})

t.test('nothing is counted, and no key is taken, in the turn in which an answer leaves', async (t) => {
  const called: string[] = []
  const counters = broken(async () => {
    called.push('store')
    throw new StoreUnavailable('down')
  })
  const m = open({ counters })
  const noted = m.misuse.note({ device: m.device, refused: true, person: personAt(0) })
  for (let i = 0; i < 100; i += 1) await Promise.resolve()
  await new Promise((next) => process.nextTick(next))
  t.same([called, m.keysTaken], [[], []])
  await noted
  t.same([called.length, m.keysTaken.length], [2, 1])
})

t.test('without a store this process goes on counting, and forgets what it suspended for', async (t) => {
  const m = open({ people: 30, counters: broken(dead) })
  await m.nos(19)
  await m.people(0, 30)
  t.same(m.suspended, [])
  await m.no()
  t.same(m.suspended, [{ device: m.device, reason: 'refusals' }])
  m.clock.advance(5000)
  await m.nos(1)
  await m.yes(30)
  t.same(
    m.suspended.map(({ reason }) => reason),
    ['refusals', 'people'],
  )
  t.equal(m.lost.length, 20 + 30 + 1 + 1 + 1 + 1, 'each failure is told')
})

t.test('a store that throws instead of rejecting is no unhandled rejection', async (t) => {
  const counters = broken(() => {
    throw new Error('at once')
  })
  const m = open({ counters })
  await m.no()
  await m.yes(0)
  t.equal(m.lost.length, 2)
})

t.test('a store that dies, or comes back empty, loses none of the refusals of this process', async (t) => {
  for (const lose of ['closed', 'emptied']) {
    const store = createMemoryStore(manualClock(startMs))
    const m = open({ counters: store })
    await m.nos(10)
    if (lose === 'closed') await store.close()
    else await store.forgetRefusals(m.device, epochOf(startMs, minuteMs))
    await m.nos(9)
    t.same(m.suspended, [], lose)
    await m.no()
    t.equal(m.suspended.length, 1, lose)
  }
})

t.test('a store that dies between a count and its norm suspends nobody by half', async (t) => {
  const store = createMemoryStore(manualClock(startMs))
  const m = open({ people: 30, counters: { ...store, readPeople: dead } })
  await m.people(0, 40)
  t.same(m.suspended, [], 'those beyond 30 are counted here, from nobody')
  await m.people(40, 61)
  t.equal(m.suspended.length, 1)
})

t.test('without a key of the day people are counted here, under a secret of this process', async (t) => {
  const m = open({ people: 30, hasKey: false })
  await m.people(0, 30)
  await m.people(0, 30)
  t.same(m.suspended, [])
  t.same(await m.counters.readPeople(m.device, [epochOf(startMs, dayMs)]), [0], 'the store has none of them')
  await m.yes(30)
  t.equal(m.suspended.length, 1)
})
