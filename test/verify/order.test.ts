// The order of checks: one request that fails exactly at each row, and what did and did not happen after it
// (PROTOCOL section 7).
import { createSecretKey } from 'node:crypto'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import t, { type Test } from 'tap'
import { printBase64url } from '../../src/base/bytes.ts'
import { issueChallenges, purpose } from '../../src/channel/challenge.ts'
import { registerDemoDevice } from '../../src/development.ts'
import { loadKeks } from '../../src/keys/kek.ts'
import { Keyring } from '../../src/keys/keyring.ts'
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

t.test('row 5: an expired challenge is refused, and a replay of it later too', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const ring = await Keyring.open({
    file: join(g.dataDir, 'keyring.db'),
    keks: loadKeks(g.certsDir),
    clock: g.clock,
  })
  t.teardown(() => ring.close())
  const id = JSON.parse(Buffer.from((device.token ?? '').split('.')[1] as string, 'base64url').toString())
    .sub as string
  const { body } = await prepare(device, g.cardNamed('valid'))
  for (const ageS of [700, 1200]) {
    const nowMs = g.clock.now() - ageS * 1000
    const key = ring.get('challenge', Math.floor(nowMs / 3_600_000)) ?? createSecretKey(Buffer.alloc(32))
    const given = { use: purpose.reading, device: Buffer.from(id, 'base64url'), count: 64, nowMs }
    const old = { ...body, challenge: printBase64url(issueChallenges(key, given).challenge) }
    const again = await device.again(old, parcelOf(), (context) => g.cardNamed('valid').readChip(context))
    const { code } = (await device.post('/v1/verify', again.body)).body
    t.match(code, /^challenge_(expired|invalid)$/, `${ageS} s old`)
  }
})

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
  const g = await startTestGateway(t, { DEVICE_RATE: '2' })
  const device = await g.openDevice()
  const seen = watch(t, g)
  const bodies = []
  for (let i = 0; i < 5; i++) bodies.push((await prepare(device, g.cardNamed('valid'))).body)
  const consumed = seen.consumed()
  const replies = await Promise.all(bodies.map((body) => device.post('/v1/verify', body)))
  const limited = replies.filter((reply) => reply.body['code'] === 'rate_limited')
  t.ok(limited.length >= 2)
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

t.test('any byte flipped in challenge, sealed or token gives neither yes nor 500', async (t) => {
  const g = await startTestGateway(t)
  const device = await g.openDevice()
  const { body } = await prepare(device, g.cardNamed('valid'))
  const bend = (text: string, at: number) => {
    const bytes = Buffer.from(text, 'base64url')
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 + (at % 255)), at)
    return bytes.toString('base64url')
  }
  let odd = 0
  const post = async (sent: object, headers: Record<string, string> = {}) => {
    const reply = await device.postText('/v1/verify', JSON.stringify(sent), headers)
    if (reply.body['answer'] === 'yes' || reply.status === 500) odd++
  }
  for (let i = 0; i < 42; i++) if (i !== 41) await post({ ...body, challenge: bend(body.challenge, i) })
  for (let i = 0; i < 2076; i += 13) await post({ ...body, sealed: bend(body.sealed, i) })
  const parts = (device.token ?? '').split('.') as [string, string, string]
  for (const [n, part] of parts.entries()) {
    for (let i = 0; i < Buffer.from(part, 'base64url').length; i += 3) {
      const bent = parts.map((text, at) => (at === n ? bend(part, i) : text)).join('.')
      await post(body, { authorization: `Bearer ${bent}` })
    }
  }
  t.equal(odd, 0)
  t.equal((await device.send(body)).answer, 'yes', 'and the true bytes still do')
})
