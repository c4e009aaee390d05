// The order of checks: one request that fails exactly at each row, and what did and did not happen after it
// (PROTOCOL section 7).
import { createPrivateKey } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { makeCardCrl, readPem } from '../../certs/card-issuer.ts'
import { manualClock, systemClock } from '../../src/base/clock.ts'
import { printPem } from '../../src/base/pem.ts'
import { registerDemoDevice } from '../../src/development.ts'
import { reinstateCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { revokeDevice } from '../../src/registry/devices.ts'
import type { Device } from '../../src/sdk/device.ts'
import type { DeckCard } from '../../src/simulator/deck.ts'
import { parcelOf, startTestGateway, type TestGateway } from '../helpers/gateway.ts'

const newsMs = 1000
const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const prepare = (device: Device, card: DeckCard) =>
  device.prepare(parcelOf(), (context) => card.readChip(context))

/** Reads what happened behind the gateway's back. */
function watch(t: Test, g: TestGateway) {
  const ledger = new DatabaseSync(join(g.dataDir, 'ledger.db'), { readOnly: true })
  t.teardown(() => ledger.close())
  const count = (sql: string) => Number((ledger.prepare(sql).get() as { n: number }).n)
  return {
    // Of verifications: the type is byte 26 of leaf data. Acts of the registry come on their own.
    entries: () => count("select count(*) as n from entries where substr(data, 27, 1) in (x'01', x'02')"),
    consumed: () => count('select count(*) as n from consumed'),
    asked: async () => Number((await g.knobs.seen())['questions']),
  }
}

t.test('rows 1, 2, 5 and 6: the challenge is unburnt and nothing is written', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const seen = watch(t, g)
  const { body } = await prepare(device, g.cardNamed('valid'))
  const [entries, consumed, asked] = [seen.entries(), seen.consumed(), await seen.asked()]
  const lastBent = (text: string) => text.slice(0, -1) + (text.endsWith('A') ? 'B' : 'A')
  const bentAt = (text: string, at: number) =>
    text.slice(0, at) + (text[at] === 'A' ? 'B' : 'A') + text.slice(at + 1)
  const garbage = (await device.again(body, parcelOf(), () => Buffer.alloc(2048))).body
  const table: [row: string, body: object, status: number, code: string][] = [
    ['1 unknown member', { ...body, more: 1 }, 400, 'malformed'],
    ['1 missing member', { v: 1, challenge: body.challenge, parcel: body.parcel }, 400, 'malformed'],
    ['1 version', { ...body, v: 2 }, 400, 'malformed'],
    ['1 type', { ...body, v: '1' }, 400, 'malformed'],
    ['1 length', { ...body, parcel: body.parcel.slice(1) }, 400, 'malformed'],
    ['1 not canonical', { ...body, parcel: `${body.parcel.slice(0, -1)}_` }, 400, 'malformed'],
    ['1 too large', { ...body, sealed: 'A'.repeat(9000) }, 413, 'too_large'],
    ['5 bent challenge', { ...body, challenge: bentAt(body.challenge, 20) }, 422, 'challenge_invalid'],
    ['6 bent seal', { ...body, sealed: bentAt(body.sealed, 100) }, 400, 'seal_rejected'],
    ['6 another parcel', { ...body, parcel: bentAt(body.parcel, 3) }, 400, 'seal_rejected'],
    ['6 not a reading', garbage, 422, 'reading_malformed'],
  ]
  for (const [row, sent, status, code] of table) {
    const reply = await device.post('/v1/verify', sent)
    t.same([reply.status, reply.body['code']], [status, code], `row ${row}`)
    t.same(Object.keys(reply.body).sort(), ['code', 'requestId', 'retry', 'status', 'title', 'type'])
  }
  const raw = JSON.stringify(body)
  for (const text of [raw.replace('"v":1', '"v":1,"v":1'), raw.slice(0, -1), '[]', '']) {
    t.equal((await device.postText('/v1/verify', text)).status, 400, 'row 1: not our JSON')
  }
  t.equal(
    (await device.postText('/v1/verify', raw, { 'content-type': 'text/plain' })).body['code'],
    'unsupported_media_type',
  )
  t.equal((await device.postText('/v1/verify', raw, { 'x-ssl-client-cert': 'x' })).body['code'], 'malformed')
  const token = device.token ?? ''
  for (const bad of [
    '',
    'x',
    lastBent(token.slice(0, -3)),
    bentAt(token, 60),
    token.replace(/^[^.]+/, 'e30'),
  ]) {
    const reply = await device.postText('/v1/verify', raw, { authorization: `Bearer ${bad}` })
    t.same([reply.status, reply.body['code']], [401, 'session_invalid'], 'row 2')
    t.ok(reply.headers['www-authenticate'])
  }
  t.same(
    [seen.entries(), seen.consumed(), await seen.asked()],
    [entries, consumed, asked],
    'nothing happened',
  )
  t.equal((await device.send(body)).answer, 'yes', 'the challenge was unburnt')
})

t.test('row 5: an expired challenge is refused; one that was answered is only told again', async (t) => {
  const clock = movingClock()
  const g = await startTestGateway(t, {}, clock)
  const device = await g.openDevice()
  const seen = watch(t, g)
  const [first, second, third] = [
    await prepare(device, g.cardNamed('valid')),
    await prepare(device, g.cardNamed('valid')),
    await prepare(device, g.cardNamed('valid')),
  ]
  const given = await device.send(first.body)
  clock.skip(610_000)
  await sleep(newsMs)
  const consumed = seen.consumed()
  const codeOf = async (body: object) => (await device.post('/v1/verify', body)).body['code']
  t.equal(await codeOf(second.body), 'challenge_expired', 'never used')
  const again = await device.post('/v1/verify', first.body)
  t.same([again.status, again.body['answer']], [200, 'yes'], 'answered before it expired')
  t.equal(again.headers['idempotent-replayed'], 'true')
  t.equal(jtiOf(again.body['token']), jtiOf(given.token))
  const other = await device.again(first.body, parcelOf(), (c) => g.cardNamed('valid').readChip(c))
  t.equal(await codeOf(other.body), 'challenge_expired', 'another request for it')
  clock.skip(200_000)
  await sleep(newsMs)
  t.equal(await codeOf(first.body), 'challenge_expired', 'beyond the replay window')
  t.equal(await codeOf(third.body), 'challenge_expired')
  t.equal(seen.consumed(), consumed, 'nothing was consumed')
})

/** The time of day as the system tells it, and as much later as it is told to be. */
function movingClock() {
  let ahead = 0
  return {
    now: () => systemClock.now() + ahead,
    mono: () => systemClock.mono(),
    skip: (ms: number) => {
      ahead += ms
    },
  }
}

const jtiOf = (token: unknown) =>
  JSON.parse(Buffer.from(String(token).split('.')[1] ?? '', 'base64url').toString()).jti as string

t.test(
  'row 1: beyond the bound of requests at once, the next is refused and nothing is written',
  async (t) => {
    const g = await startTestGateway(t, { IN_FLIGHT_MAX: '1' })
    const device = await g.openDevice()
    const seen = watch(t, g)
    const held = await prepare(device, g.cardNamed('forged')) // A no stays for 150 ms.
    const { body } = await prepare(device, g.cardNamed('valid'))
    const [entries, consumed] = [seen.entries(), seen.consumed()]
    const answered = device.send(held.body)
    await sleep(50)
    const reply = await device.post('/v1/verify', body)
    t.same([reply.status, reply.body['code'], reply.body['retry']], [503, 'overloaded', 'later'])
    t.ok(reply.headers['retry-after'])
    t.equal((await answered).answer, 'no')
    t.same([seen.entries(), seen.consumed()], [entries + 1, consumed + 1], 'only the first was written')
    t.equal((await device.send(body)).answer, 'yes', 'the challenge was unburnt')
  },
)

t.test(
  'row 8: without a fresh revocation list there is no answer, and the challenge is unburnt',
  async (t) => {
    const g = await startTestGateway(t)
    const device = await g.openDevice()
    const seen = watch(t, g)
    const { body } = await prepare(device, g.cardNamed('valid'))
    const [entries, consumed, asked] = [seen.entries(), seen.consumed(), await seen.asked()]
    const file = join(g.certsDir, 'card-issuer.crl')
    const before = readFileSync(file)
    const issuer = {
      certificateDer: readPem('CERTIFICATE', g.file('card-issuer.crt').toString()),
      privateKey: createPrivateKey(g.file('card-issuer.key')),
    }
    const nowMs = g.clock.now()
    const list = { thisUpdateMs: nowMs, nextUpdateMs: nowMs + 1000, number: 99, revoked: [] }
    writeFileSync(file, printPem('X509 CRL', makeCardCrl(issuer, list)))
    await sleep(2500)
    const reply = await device.post('/v1/verify', body)
    t.same([reply.status, reply.body['code'], reply.body['retry']], [503, 'trust_stale', 'same'])
    t.same([seen.entries(), seen.consumed(), await seen.asked()], [entries, consumed, asked])
    writeFileSync(file, before)
    await sleep(1500)
    t.equal((await device.post('/v1/verify', body)).body['code'], 'trust_stale', 'an older list is not taken')
    const fresh = { ...list, thisUpdateMs: g.clock.now(), nextUpdateMs: g.clock.now() + 60_000, number: 100 }
    writeFileSync(file, printPem('X509 CRL', makeCardCrl(issuer, fresh)))
    await sleep(1500)
    t.equal((await device.send(body)).answer, 'yes', 'the same bytes, once the list is fresh')
  },
)

t.test(
  'row 3: a revoked device and a suspended carrier are refused before anything is looked at',
  async (t) => {
    const g = await startTestGateway(t)
    const seen = watch(t, g)
    const other = await registerDemoDevice(g.db, {
      carrier: 'river-post',
      outlet: 'old-bridge',
      clock: g.clock,
    })
    await sleep(newsMs / 2)
    const device = await g.openDevice(other)
    const { body } = await prepare(device, g.cardNamed('valid'))
    const act = { id: 'river-post', operator: 'founder' }
    await suspendCarrier(g.db, { ...act, reason: 'test', nowMs: g.clock.now() })
    await sleep(newsMs)
    const consumed = seen.consumed()
    t.equal((await device.post('/v1/verify', body)).body['code'], 'carrier_suspended')
    await reinstateCarrier(g.db, { ...act, nowMs: g.clock.now() })
    await sleep(newsMs)
    t.equal(seen.consumed(), consumed)
    t.equal((await device.send(body)).answer, 'yes', 'the challenge was unburnt')
    const next = await prepare(device, g.cardNamed('valid'))
    await revokeDevice(g.db, {
      id: Buffer.from(other.id, 'base64url'),
      operator: 'founder',
      nowMs: g.clock.now(),
    })
    await sleep(newsMs)
    t.equal((await device.post('/v1/verify', next.body)).body['code'], 'device_inactive')
  },
)

t.test('row 4: beyond its rate a device is told to wait, and nothing is written', async (t) => {
  const g = await startTestGateway(t, { DEVICE_RATE: '2' }, manualClock(Date.now()))
  const device = await g.openDevice()
  const seen = watch(t, g)
  const bodies = []
  for (let i = 0; i < 5; i++) bodies.push((await prepare(device, g.cardNamed('valid'))).body)
  const consumed = seen.consumed()
  const replies = await Promise.all(bodies.map((body) => device.post('/v1/verify', body)))
  const limited = replies.filter((reply) => reply.body['code'] === 'rate_limited')
  t.equal(limited.length, 3)
  t.ok(limited.every((reply) => reply.status === 429 && reply.headers['retry-after'] !== undefined))
  t.equal(seen.consumed() - consumed, replies.length - limited.length)
})

t.test('rows 7 to 12: the challenge is burnt, the entry written, the bureau not asked', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const seen = watch(t, g)
  for (const name of ['forged', 'cloned', 'altered', 'revoked-signer', 'foreign-chip', 'expired']) {
    const [entries, asked] = [seen.entries(), await seen.asked()]
    const { body } = await prepare(device, g.cardNamed(name))
    t.equal((await device.send(body)).answer, 'no', name)
    t.equal(seen.entries(), entries + 1, 'one entry')
    t.equal(await seen.asked(), asked, 'the bureau was not asked')
    const { body: other } = await device.again(body, parcelOf(), (c) => g.cardNamed('valid').readChip(c))
    t.equal((await device.post('/v1/verify', other)).body['code'], 'challenge_used', 'burnt')
  }
})

t.test(
  'row 14: the bureau fails: undecided is recorded, nothing is cached, the same bytes may try again',
  async (t) => {
    const g = await startTestGateway(t)
    const device = await g.openDevice()
    const seen = watch(t, g)
    const { body } = await prepare(device, g.cardNamed('valid'))
    const [entries, consumed] = [seen.entries(), seen.consumed()]
    await g.knobs.setFaults({ garbage: true })
    const reply = await device.post('/v1/verify', body)
    t.same([reply.status, reply.body['code'], reply.body['retry']], [503, 'bureau_unavailable', 'same'])
    t.same(
      [seen.entries(), seen.consumed()],
      [entries + 1, consumed],
      'one entry, of type undecided; nothing consumed',
    )
    await g.knobs.clearFaults()
    t.equal((await device.send(body)).answer, 'yes')
    t.same([seen.entries(), seen.consumed()], [entries + 2, consumed + 1])
  },
)

t.test('row 16: without a durable entry there is no answer, and the retry gets exactly one', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const seen = watch(t, g)
  const { body } = await prepare(device, g.cardNamed('valid'))
  const consumed = seen.consumed()
  const lock = new DatabaseSync(join(g.dataDir, 'ledger.db'))
  lock.exec('begin immediate')
  const reply = await device.post('/v1/verify', body)
  t.same([reply.status, reply.body['code']], [503, 'ledger_unavailable'])
  lock.exec('rollback')
  lock.close()
  await sleep(500)
  t.equal((await device.send(body)).answer, 'yes')
  t.equal(seen.consumed(), consumed + 1, 'one answer for the challenge')
})
