// The mock by itself: its answers in the order of PROTOCOL section 7, its feed, its knobs (section 11).
import t from 'tap'
import { dayMs, hourMs, manualClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import type { FeedPage, Query } from '../../src/bureau/protocol.ts'
import { buildBureau } from '../../src/bureau-mock/app.ts'
import { drawDelay, drawError } from '../../src/bureau-mock/faults.ts'
import { personAt } from '../../src/bureau-mock/people.ts'

const seed = 'mock-test'
const transaction = Buffer.alloc(16, 9).toString('base64url')

function openRig() {
  const clock = manualClock(Date.UTC(2026, 10, 23, 12))
  const app = buildBureau({ seed, clock })
  const call = async (method: 'GET' | 'POST' | 'DELETE', url: string, payload?: object) => {
    const reply = await app.inject({ method, url, ...(payload ? { payload } : {}) })
    return { status: reply.statusCode, text: reply.body, json: () => reply.json() }
  }
  const changes = async (after?: number) => {
    const { status, json } = await call(
      'GET',
      after === undefined ? '/v1/changes' : `/v1/changes?after=${after}`,
    )
    return { status, page: json() as FeedPage }
  }
  const setStatus = async (index: number, status: string) =>
    (await call('POST', '/people/status', { number: personAt(seed, index).number, status })).status
  const ask = async (...queries: Query[]) => (await call('POST', '/v1/queries', queries)).json()
  return { clock, app, call, changes, setStatus, ask }
}

function queryOf(index: number, change: Partial<Query> = {}): Query {
  const { number, name, serial, validTo } = personAt(seed, index)
  const until = validTo === '长期' ? '99991231' : validTo
  const who = { number, name, serial: serial.toString('base64url'), validTo: until }
  return { id: `q${index}`, docType: 'ID', issuingState: 'CHN', ...who, transaction, ...change }
}

t.test('answers come in the order of the questions, each with its id', async (t) => {
  const { ask } = openRig()
  const old = 0 // Born in 1938: the card has no end, which is asked for as 99991231.
  t.same(await ask(queryOf(5), queryOf(old), queryOf(4, { name: '不符姓名者' }), queryOf(99_999_999)), [
    { id: 'q5', result: 'match' },
    { id: 'q0', result: 'match' },
    { id: 'q4', result: 'mismatch' },
    { id: 'q99999999', result: 'match' },
  ])
})

t.test('whoever is wrong in two ways gets the first result of the order', async (t) => {
  const { ask, setStatus } = openRig()
  const serial = queryOf(2).serial
  const name = '不符姓名者'
  const number = '780009199001010016'
  const resultOf = async (index: number, change: Partial<Query> = {}) =>
    (await ask(queryOf(index, change)))[0].result
  for (const [index, status, result] of [
    [10, 'lost', 'card_not_current'],
    [11, 'stolen', 'card_not_current'],
    [12, 'superseded', 'card_not_current'],
    [13, 'alert', 'alert'],
    [14, 'deceased', 'deceased'],
  ] as const) {
    await setStatus(index, status)
    t.equal(await resultOf(index), result, status)
    t.equal(await resultOf(index, { number, name, serial }), 'not_found')
    t.equal(await resultOf(index, { name, serial }), 'mismatch')
    t.equal(await resultOf(index, { serial }), 'card_not_current')
    await setStatus(index, 'clear')
    t.equal(await resultOf(index), 'match', 'cleared')
  }
  t.equal(await resultOf(20, { validTo: '20300101' }), 'card_not_current')
  t.equal(await resultOf(20, { docType: 'P' }), 'not_found')
  t.equal(await resultOf(20, { issuingState: 'MAC' }), 'not_found')
})

t.test('names are compared after NFC', async (t) => {
  const { ask } = openRig()
  const { name } = personAt(seed, 3)
  t.same(await ask(queryOf(3, { name: name.normalize('NFD') })), [{ id: 'q3', result: 'match' }])
})

t.test('what is no question is refused', async (t) => {
  const { call } = openRig()
  const { number, ...numberless } = queryOf(1)
  const broken: [string, unknown][] = [
    ['no question', []],
    ['65 questions', Array.from({ length: limits.bureauBatchMax + 1 }, (_, i) => queryOf(i))],
    ['no array', queryOf(1)],
    ['a field too few', [numberless]],
    ['a field too many', [{ ...queryOf(1), more: 1 }]],
    ['another type', [{ ...queryOf(1), id: 1 }]],
    ['a document of another type', [{ ...queryOf(1), docType: 'X' }]],
    ['a short serial', [{ ...queryOf(1), serial: 'AAAA' }]],
    ['a serial that is not canonical', [{ ...queryOf(1), serial: 'AAAAAAAAAAAAAAAAAAAAAB' }]],
    ['no transaction', [{ ...queryOf(1), transaction: '' }]],
    ['a date of another form', [{ ...queryOf(1), validTo: '2030-01-01' }]],
  ]
  for (const [what, payload] of broken)
    t.equal((await call('POST', '/v1/queries', payload as object)).status, 400, what)
  const full = Array.from({ length: limits.bureauBatchMax }, (_, i) => queryOf(i))
  t.equal((await call('POST', '/v1/queries', full)).status, 200)
})

t.test('a change is published with its kind: cards by number and serial, persons by number', async (t) => {
  const { changes, setStatus } = openRig()
  t.same((await changes()).page, { first: 1, head: 0, changes: [] })
  const kinds = {
    lost: 'card_lost',
    stolen: 'card_stolen',
    superseded: 'card_superseded',
    deceased: 'deceased',
    alert: 'alert',
  }
  for (const status of Object.keys(kinds)) await setStatus(7, status)
  await setStatus(7, 'clear')
  const { number, serial } = queryOf(7)
  const place = { docType: 'ID', issuingState: 'CHN', number }
  const { page } = await changes()
  t.same([page.first, page.head], [1, 6])
  t.same(page.changes, [
    { position: 1, kind: 'card_lost', ...place, serial },
    { position: 2, kind: 'card_stolen', ...place, serial },
    { position: 3, kind: 'card_superseded', ...place, serial },
    { position: 4, kind: 'deceased', ...place },
    { position: 5, kind: 'alert', ...place },
    { position: 6, kind: 'alert', ...place },
  ])
  t.same(
    (await changes(4)).page.changes.map(({ position }) => position),
    [5, 6],
  )
  t.same((await changes(6)).page, { first: 1, head: 6, changes: [] })
})

t.test('the status of somebody who is not there cannot be changed', async (t) => {
  const { call, changes } = openRig()
  t.equal(
    (await call('POST', '/people/status', { number: '780009199001010016', status: 'lost' })).status,
    404,
  )
  t.equal((await call('POST', '/people/status', { number: queryOf(1).number, status: 'merry' })).status, 400)
  t.equal((await changes()).page.head, 0)
})

t.test('a page has at most 1000 changes, and pages follow each other to the head', async (t) => {
  const { changes, setStatus } = openRig()
  for (let n = 0; n < 2500; n++) await setStatus(n, 'alert')
  const positions: number[] = []
  let after: number | undefined
  for (const size of [1000, 1000, 500, 0]) {
    const { page } = await changes(after)
    t.equal(page.changes.length, size)
    t.same([page.first, page.head], [1, 2500])
    positions.push(...page.changes.map(({ position }) => position))
    after = positions.at(-1)
  }
  t.same(
    positions,
    Array.from({ length: 2500 }, (_, n) => n + 1),
  )
})

t.test(
  'after 48 h changes leave the feed, 410 below the first, and no position is given twice',
  async (t) => {
    const { changes, setStatus, clock } = openRig()
    for (let n = 0; n < 3; n++) await setStatus(n, 'lost')
    clock.advance(47 * hourMs)
    await setStatus(3, 'lost')
    clock.advance(hourMs)
    t.equal((await changes(0)).status, 200, 'exactly 48 h are kept')
    clock.advance(1)
    t.equal((await changes(0)).status, 410)
    t.equal((await changes(2)).status, 410)
    t.same(
      (await changes(3)).page.changes.map(({ position }) => position),
      [4],
    )
    t.same([(await changes()).page.first, (await changes()).page.head], [4, 4])
    clock.advance(3 * dayMs)
    t.same((await changes()).page, { first: 5, head: 4, changes: [] })
    t.equal((await changes(4)).status, 200)
    t.equal((await changes(3)).status, 410)
    await setStatus(4, 'lost')
    t.same(
      (await changes(4)).page.changes.map(({ position }) => position),
      [5],
    )
  },
)

t.test('a position that is none is refused', async (t) => {
  const { call } = openRig()
  for (const after of ['x', '-1', '1.5', '', '9'.repeat(16)])
    t.equal((await call('GET', `/v1/changes?after=${after}`)).status, 400)
  t.equal((await call('GET', '/v1/changes?before=1')).status, 400)
})

t.test('faults are set, shown and taken away; an unknown one is refused', async (t) => {
  const { call, ask } = openRig()
  t.equal((await call('POST', '/faults', { errorRate: 1 })).status, 200)
  t.equal((await call('POST', '/v1/queries', [queryOf(1)])).status, 500)
  t.equal((await call('GET', '/v1/changes')).status, 200, 'the feed has a knob of its own')
  await call('POST', '/faults', { garbage: true })
  const { text } = await call('POST', '/v1/queries', [queryOf(1)])
  t.throws(() => JSON.parse(text), SyntaxError)
  await call('POST', '/faults', { partial: true, reordered: true })
  t.same(
    (await ask(queryOf(1), queryOf(2), queryOf(3))).map(({ id }: Query) => id),
    ['q2', 'q1'],
  )
  await call('POST', '/faults', { feed: 'error' })
  t.equal((await call('GET', '/v1/changes')).status, 500)
  t.same((await call('DELETE', '/faults')).json(), {})
  t.equal((await call('GET', '/v1/changes')).status, 200)
  for (const faults of [
    { late: true },
    { errorRate: 2 },
    { delayMs: 5 },
    { delayMs: { min: 1 } },
    { feed: 'down' },
  ])
    t.equal((await call('POST', '/faults', faults)).status, 400)
})

t.test('it counts batches, questions and how often a number was asked about', async (t) => {
  const { call, ask } = openRig()
  await ask(queryOf(1), queryOf(2), queryOf(1))
  await ask(queryOf(1))
  t.same((await call('GET', '/seen')).json(), { batches: 2, questions: 4, batchMax: 3 })
  t.equal((await call('GET', `/seen?number=${queryOf(1).number}`)).json().ofNumber, 3)
  t.equal((await call('GET', `/seen?number=${queryOf(9).number}`)).json().ofNumber, 0)
})

t.test('delays are drawn as the knob says', async (t) => {
  const drawn = (delayMs: NonNullable<Parameters<typeof drawDelay>[0]['delayMs']>) =>
    Array.from({ length: 4000 }, () => drawDelay({ delayMs })).sort((a, b) => a - b)
  t.equal(drawDelay({}), 0)
  const even = drawn({ min: 10, max: 20 })
  t.ok((even[0] as number) >= 10 && (even.at(-1) as number) <= 20 && (even[0] as number) < 11)
  t.same(new Set(drawn({ min: 7, max: 7 })), new Set([7]))
  const skewed = drawn({ median: 40, p99: 200 })
  const [median, p99] = [skewed[2000] as number, skewed[3960] as number]
  t.ok(median > 36 && median < 44, `median ${median.toFixed(1)}`)
  t.ok(p99 > 150 && p99 < 270, `p99 ${p99.toFixed(0)}`)
  const errors = Array.from({ length: 4000 }, () => drawError({ errorRate: 0.25 })).filter(Boolean).length
  t.ok(errors > 850 && errors < 1150, `${errors} errors of 4000`)
  t.equal(drawError({}), false)
})
