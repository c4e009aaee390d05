// Redemption, coverage, the change cursor, and the Idempotency-Key of every call that changes something.
import t, { type Test } from 'tap'
import { printBase64url, sha256 } from '../../src/base/bytes.ts'
import { carrierDay, parseDay, printDay, systemClock } from '../../src/base/clock.ts'
import { callOnce } from '../../src/registry/calls.ts'
import { openRegistry } from '../../src/registry/schema.ts'
import { Refused } from '../../src/sdk/carrier.ts'
import { openCarrier, openRaw, readerFor, tokenFor, until } from '../helpers/carrier.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const refusedAs = (call: Promise<unknown>) =>
  call.then(
    () => 'not refused',
    (error) => (error instanceof Refused ? error.code : String(error)),
  )
const today = () => printDay(carrierDay(systemClock.now()))

/** One in 256 ends with AA by itself. */
const altered = (token: string) => `${token.slice(0, -2)}${token.endsWith('AA') ? 'AQ' : 'AA'}`

t.test('a yes is redeemed for its parcel, once, and again and again with the same result', async (t) => {
  const g = await startTestGateway(t)
  const [own, theirs] = [openCarrier(t, g), openCarrier(t, g, 'river-post')]
  const yes = await tokenFor(g, 'valid')
  const no = await tokenFor(g, 'forged')
  const first = await own.redeem(yes.token, yes.parcel)
  t.match(first, { jti: yes.claims.jti, redeemedAt: /^2/ })
  t.same(await own.redeem(yes.token, yes.parcel), first, 'by another key')
  t.match(await own.introspect(yes.token), { active: true }, 'redemption does not matter to it')
  for (const [what, call] of [
    ['another parcel', () => own.redeem(yes.token, parcelOf())],
    ['a no', () => own.redeem(no.token, no.parcel)],
    ['of another carrier', () => theirs.redeem(yes.token, yes.parcel)],
    ['no token', () => own.redeem('x', yes.parcel)],
    ['altered', () => own.redeem(altered(yes.token), yes.parcel)],
  ] as const) {
    t.equal(await refusedAs(call()), 'token_not_redeemable', what)
  }
  t.match(await own.coverage(), [{ day: today(), outlet: 'harbour', verified: 1, refused: 1, redeemed: 1 }])
  t.same(await theirs.coverage(), [])
})

t.test('many redemptions at once are each answered, and counted once', async (t) => {
  const g = await startTestGateway(t)
  const own = openCarrier(t, g)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const given = await Promise.all(
    Array.from({ length: 40 }, async () => {
      const parcel = parcelOf()
      return { parcel, ...(await device.verify(parcel, (context) => card.readChip(context))) }
    }),
  )
  const twice = [...given, ...given]
  const results = await Promise.all(twice.map(({ token, parcel }) => own.redeem(token, parcel)))
  t.equal(new Set(results.map(({ jti }) => jti)).size, 40)
  t.match(await own.coverage(), [{ verified: 40, redeemed: 40 }])
})

t.test(
  'coverage: accepted as told, the last word stands, and what has no redeemed token is shown',
  async (t) => {
    const g = await startTestGateway(t)
    const own = openCarrier(t, g)
    const { token, parcel } = await tokenFor(g, 'valid')
    await own.redeem(token, parcel)
    await own.tellAcceptances(today(), 'harbour', 5)
    await own.tellAcceptances(today(), 'harbour', 3)
    t.same(await own.coverage({ from: today(), to: today() }), [
      {
        ...{ day: today(), outlet: 'harbour', accepted: 3, uncovered: 2 },
        ...{ verified: 1, refused: 0, undecided: 0, redeemed: 1 },
      },
    ])
    await own.tellAcceptances('2026-01-31', 'harbour', 1)
    t.match(await own.coverage({ from: '2026-01-31', to: '2026-01-31' }), [
      { accepted: 1, redeemed: 0, uncovered: 1 },
    ])
    const tomorrow = printDay(carrierDay(systemClock.now()) + 1)
    for (const [what, call, code] of [
      ['a day that is none', () => own.tellAcceptances('2026-02-30', 'harbour', 1), 'malformed'],
      ['a day to come', () => own.tellAcceptances(tomorrow, 'harbour', 1), 'malformed'],
      ['another outlet', () => own.tellAcceptances(today(), 'nowhere', 1), 'not_found'],
      [
        'of another carrier',
        () => openCarrier(t, g, 'river-post').tellAcceptances(today(), 'harbour', 1),
        'not_found',
      ],
      ['a negative count', () => own.tellAcceptances(today(), 'harbour', -1), 'malformed'],
      ['half a parcel', () => own.tellAcceptances(today(), 'harbour', 0.5), 'malformed'],
      ['from after to', () => own.coverage({ from: today(), to: '2026-01-01' }), 'malformed'],
      ['too many days', () => own.coverage({ from: '2026-01-01', to: '2026-12-31' }), 'malformed'],
    ] as const) {
      t.equal(await refusedAs(call()), code, what)
    }
  },
)

t.test('an undecided verification is counted as such', async (t) => {
  const g = await startTestGateway(t)
  const own = openCarrier(t, g)
  await g.knobs.setFaults({ errorRate: 1 })
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const { body } = await device.prepare(parcelOf(), (context) => card.readChip(context))
  t.match(await device.post('/v1/verify', body), { status: 503, body: { code: 'bureau_unavailable' } })
  t.match(await own.coverage(), [{ outlet: 'harbour', verified: 0, refused: 0, undecided: 1 }])
})

type Calls = ReturnType<typeof openRaw>

async function callOf(t: Test, g: TestGateway): Promise<{ raw: Calls; body: object; path: string }> {
  const { token, parcel } = await tokenFor(g, 'valid')
  return { raw: openRaw(t, g), path: '/v1/redemptions', body: { token, parcel: printBase64url(parcel) } }
}

t.test(
  'Idempotency-Key: missing 400, other payload 422, again the same answer, bound to the carrier',
  async (t) => {
    const g = await startTestGateway(t)
    const { raw, body, path } = await callOf(t, g)
    const post = (key: string | undefined, sent: unknown = body, at = path, by = raw) =>
      by({
        method: 'POST',
        path: at,
        body: sent,
        headers: key === undefined ? {} : { 'idempotency-key': key },
      })
    t.match(await post(undefined), { status: 400, body: { code: 'idempotency_key_missing' } })
    for (const key of ['', '"', '"a', 'a b', '"a"b"', '"\u0001"', `"${'k'.repeat(256)}"`, '"a"; x=1'])
      t.match(await post(key).catch(() => ({ status: 400 })), { status: 400 }, JSON.stringify(key))
    const first = await post('"8e03978e-40d5-43dd-bc93-6894a57f9324"')
    t.match(first, { status: 200, headers: { 'idempotent-replayed': undefined } })
    for (const key of ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', '8e03978e-40d5-43dd-bc93-6894a57f9324']) {
      const again = await post(key)
      t.match(again, { status: 200, headers: { 'idempotent-replayed': 'true' } }, 'with quotes or without')
      t.same(again.body, first.body)
    }
    const key = '"8e03978e-40d5-43dd-bc93-6894a57f9324"'
    const other = { ...body, parcel: printBase64url(parcelOf()) }
    t.match(await post(key, other), { status: 422, body: { code: 'idempotency_key_reused' } })
    const { key: _, spki, pop, ...rest } = readerFor('swift-crane', { serial: 'SC-1' })
    const devices = [{ ...rest, spki: printBase64url(spki), pop: printBase64url(pop) }]
    t.match(await post(key, devices, '/v1/devices'), {
      status: 422,
      body: { code: 'idempotency_key_reused' },
    })
    const theirs = openRaw(t, g, 'river-post')
    const place = [{ ...devices[0], outlet: 'old-bridge' }]
    t.match(
      await post(key, place, '/v1/devices', theirs),
      { status: 200 },
      'of another carrier it is another key',
    )
  },
)

t.test('a refusal leaves no answer: the key is free still', async (t) => {
  const g = await startTestGateway(t)
  const raw = openRaw(t, g)
  const put = { method: 'PUT', headers: { 'idempotency-key': '"p"' }, body: { count: 1 } }
  t.equal((await raw({ ...put, path: `/v1/acceptances/${today()}/nowhere` })).status, 404)
  t.equal((await raw({ ...put, path: `/v1/acceptances/${today()}/harbour` })).status, 200)
})

t.test('every call that changes something needs a key', async (t) => {
  const g = await startTestGateway(t)
  const raw = openRaw(t, g)
  const { token, parcel } = await tokenFor(g, 'valid')
  const { key: _, spki, pop, ...rest } = readerFor('swift-crane', { serial: 'SC-1' })
  const device = { ...rest, spki: printBase64url(spki), pop: printBase64url(pop) }
  const id = 'A'.repeat(22)
  for (const [method, path, body] of [
    ['POST', '/v1/devices', [device]],
    ['POST', `/v1/devices/${id}/rotation`, { spki: device.spki, byOld: device.pop, byNew: device.pop }],
    ['DELETE', `/v1/devices/${id}`, undefined],
    ['DELETE', '/v1/devices?outlet=harbour', undefined],
    ['POST', '/v1/redemptions', { token, parcel: printBase64url(parcel) }],
    ['PUT', `/v1/acceptances/${today()}/harbour`, { count: 1 }],
    ['POST', '/v1/conformance', { outcome: 'no', token }],
  ] as const) {
    const reply = await raw({ method, path, body })
    t.match(
      reply,
      { status: 400, body: { code: 'idempotency_key_missing', retry: 'never' } },
      `${method} ${path}`,
    )
  }
})

t.test('an answer is kept 24 h, in the transaction that it tells of', async (t) => {
  const db = await openRegistry(`${t.testdir()}/registry.db`)
  t.teardown(() => db.destroy())
  const call = { carrier: 'swift-crane', key: 'k', digest: sha256(Buffer.from('a')), nowMs: 1_000_000 }
  let ran = 0
  const work = async () => {
    ran++
    return { reply: { status: 200, body: `"${ran}"` }, acts: [] }
  }
  t.match(await callOnce(db, call, work), { replayed: false, reply: { body: '"1"' } })
  t.match(await callOnce(db, { ...call, nowMs: 1_000_000 + 86_399_999 }, work), {
    replayed: true,
    reply: { body: '"1"' },
  })
  t.match(await callOnce(db, { ...call, digest: sha256(Buffer.from('b')) }, work), { state: 'reused' })
  t.match(await callOnce(db, { ...call, nowMs: 1_000_000 + 86_400_000 }, work), {
    replayed: false,
    reply: { body: '"2"' },
  })
  const failing = { ...call, key: 'f' }
  const fail = async () => {
    throw new Error('the disk is full')
  }
  await t.rejects(callOnce(db, failing, fail), /disk is full/)
  t.match(await callOnce(db, failing, work), { replayed: false }, 'what failed may be tried again')
})

t.test(
  'the bureau names a person or card: tokens of the last day are revoked, and their carrier reads which',
  async (t) => {
    const g = await startTestGateway(t)
    const [own, theirs] = [openCarrier(t, g), openCarrier(t, g, 'river-post')]
    const device = await g.openDevice()
    const deck = g.deck()
    const [valid, unknown] = ['valid', 'unknown'].map((name) => deck.find((card) => card.name === name))
    if (!valid || !unknown) throw new Error('no cards')
    const ask = async (card: typeof valid) => {
      const parcel = parcelOf()
      const { token, answer } = await device.verify(parcel, (context) => card.readChip(context))
      const { jti } = JSON.parse(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())
      return { token, answer, parcel, jti: jti as string }
    }
    const [one, two, no] = [await ask(valid), await ask(valid), await ask(unknown)]
    const bystander = await tokenFor(g, 'valid')
    const before = (await own.changes()).next
    t.match(await own.introspect(one.token), { active: true })
    const began = performance.now()
    await g.knobs.setStatus(valid.holder.number, 'lost')
    await until(async () => !(await own.introspect(one.token)).active, 'revoked')
    t.ok(performance.now() - began < 1500, `within ${Math.round(performance.now() - began)} ms`)
    await until(async () => !(await own.introspect(two.token)).active, 'the other one too')
    t.match(await own.introspect(bystander.token), { active: true }, 'of nobody else')
    t.match(await own.introspect(no.token), { active: true, answer: 'no' })
    t.equal(await refusedAs(own.redeem(one.token, one.parcel)), 'token_not_redeemable')
    const { changes, next } = await own.changes(before)
    t.same(
      changes.map(({ change, subject }) => [change, subject]).sort(),
      [...[one, two].map(({ jti }) => ['token.revoke', jti])].sort(),
    )
    t.same((await own.changes(next)).changes, [])
    t.same(
      (await theirs.changes()).changes.filter(({ change }) => change === 'token.revoke'),
      [],
    )
    const told = g.lines.join('')
    t.notMatch(told, valid.holder.number, 'nobody is named')
  },
)

t.test('what was redeemed stays answered to its key, though the token is in force no more', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const card = g.cardNamed('valid')
  const parcel = parcelOf()
  const { token } = await device.verify(parcel, (context) => card.readChip(context))
  const raw = openRaw(t, g)
  const call = {
    ...{ method: 'POST', path: '/v1/redemptions', headers: { 'idempotency-key': '"lost"' } },
    body: { token, parcel: printBase64url(parcel) },
  }
  const first = await raw(call)
  t.equal(first.status, 200)
  await g.knobs.setStatus(card.holder.number, 'lost')
  const own = openCarrier(t, g)
  await until(async () => !(await own.introspect(token)).active, 'revoked')
  const again = await raw(call)
  t.match(again, { status: 200, headers: { 'idempotent-replayed': 'true' } })
  t.same(again.body, first.body)
  const anew = await raw({ ...call, headers: { 'idempotency-key': '"anew"' } })
  t.match(anew, { status: 422, body: { code: 'token_not_redeemable' } })
})

t.test('while the bureau’s news cannot be read no token is told to be in force', async (t) => {
  const g = await startTestGateway(t)
  const own = openCarrier(t, g)
  const { token, parcel } = await tokenFor(g, 'valid')
  t.match(await own.introspect(token), { active: true })
  await g.knobs.setFaults({ feed: 'error' })
  await until(async () => (await refusedAs(own.introspect(token))) === 'bureau_unavailable', 'stale')
  t.equal(await refusedAs(own.redeem(token, parcel)), 'bureau_unavailable')
  t.same(await own.introspect('x'), { active: false }, 'what is no token is none')
  t.equal(g.gateway.readiness()['feed'], false)
  await g.knobs.clearFaults()
  await until(async () => (await refusedAs(own.introspect(token))) === 'not refused', 'fresh again')
  t.match(await own.redeem(token, parcel), { redeemedAt: /^2/ })
})

t.test('coverage of many outlets and days comes in pages, each row once and whole', async (t) => {
  const g = await startTestGateway(t)
  const [own, raw] = [openCarrier(t, g), openRaw(t, g)]
  await tokenFor(g, 'valid')
  const [first, last] = [parseDay('2026-11-01') ?? 0, carrierDay(systemClock.now())]
  const outlet = (i: number) => `outlet-${String(i).padStart(4, '0')}`
  for (let i = 0; i < 1300; i++) {
    const day = i % 2 ? first : last
    await g.db
      .insertInto('acceptances')
      .values({ carrier: 'swift-crane', day, outlet: outlet(i), count: i })
      .execute()
    if (i % 3 === 0)
      await g.db
        .insertInto('redeemed')
        .values({ carrier: 'swift-crane', day, outlet: outlet(i), count: 1 })
        .execute()
  }
  await g.db
    .insertInto('acceptances')
    .values({ carrier: 'river-post', day: last, outlet: 'a', count: 1 })
    .execute()
  const rows = await own.coverage({ from: '2026-11-01', to: today() })
  t.equal(rows.length, 1301, 'with the outlet that verified')
  const keys = rows.map(({ day, outlet }) => `${day}/${outlet}`)
  t.same(keys, [...new Set(keys)].sort())
  for (const row of rows) {
    const i = Number(row.outlet.slice(7))
    const expected = row.outlet === 'harbour' ? [null, 1, 0] : [i, 0, i % 3 === 0 ? 1 : 0]
    if (`${[row.accepted, row.verified, row.redeemed]}` !== `${expected}`) t.fail(`${row.day} ${row.outlet}`)
  }
  const page = await raw({ method: 'GET', path: `/v1/coverage?from=2026-11-01&to=${today()}` })
  t.match(page, { status: 200, body: { next: keys[999] } })
  t.equal((page.body['rows'] as unknown[]).length, 1000)
  for (const after of ['x', '2026-02-30/a', '2026-10-30/a', '2026-11-01/a_b', '2026-11-01'])
    t.equal(
      (await raw({ method: 'GET', path: `/v1/coverage?from=2026-11-01&after=${after}` })).status,
      400,
      after,
    )
})
