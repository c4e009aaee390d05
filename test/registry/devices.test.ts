// Devices: only with proof of possession, a key only once and for ever, revoked for good.
import { execFileSync } from 'node:child_process'
import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { parseBase64url, printBase64url, sha256 } from '../../src/base/bytes.ts'
import { dayMs } from '../../src/base/clock.ts'
import { p256SpkiPrefix, printP256Spki, signP256 } from '../../src/base/p256.ts'
import { bind } from '../../src/base/t2l.ts'
import { admitCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { changes, changesAfter, headOfChanges } from '../../src/registry/changes.ts'
import {
  enrol,
  listDevices,
  registerDevice,
  reinstateDevice,
  revokeDevice,
  suspendDevice,
} from '../../src/registry/devices.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const operator = 'lin.qiao'
const nowMs = Date.UTC(2026, 10, 24)
const place = { carrier: 'swift-crane', outlet: 'harbour', serial: 'SC-0001', model: 'K7', operator, nowMs }
const newKey = () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey

function enrolment(key: KeyObject = newKey(), over: Partial<typeof place> = {}) {
  const given = { ...place, ...over }
  const spki = printP256Spki(key)
  return { ...given, spki, pop: signP256(key, bind('enrol', given.carrier, given.serial, spki)) }
}

async function openTest(t: Test) {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  const outlets = [
    { id: 'harbour', name: 'Harbour' },
    { id: 'old-bridge', name: 'Old Bridge' },
  ]
  for (const id of ['swift-crane', 'river-post'])
    await admitCarrier(db, { id, name: 'X', outlets, operator, nowMs })
  return db
}

t.test('a key made by openssl is registered for 90 days under a random id', async (t) => {
  const db = await openTest(t)
  const pem = execFileSync('openssl', ['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256'])
  const der = execFileSync('openssl', ['pkey', '-pubout', '-outform', 'DER'], { input: pem })
  const given = enrolment(createPrivateKey(pem))
  t.same(given.spki, der, 'openssl prints the same 91 bytes')
  const { seq, id } = await registerDevice(db, given)
  t.equal(seq, 3)
  t.equal(id.length, 16)
  const shown = {
    id: printBase64url(id),
    carrier: 'swift-crane',
    outlet: 'harbour',
    serial: 'SC-0001',
    model: 'K7',
    status: 'active',
  }
  t.same(await listDevices(db, { limit: 10 }), [
    { ...shown, registeredAtMs: nowMs, notAfterMs: nowMs + 90 * dayMs },
  ])
  const [change] = await changesAfter(db, 2, 1)
  t.match(change, { kind: 'device', subject: printBase64url(id), operator })
  const { carrier, outlet, serial, model } = place
  const key = printBase64url(sha256(der))
  t.same(JSON.parse(change?.act ?? ''), {
    act: 'device.register',
    device: shown.id,
    carrier,
    outlet,
    serial,
    model,
    key,
    operator,
    at: nowMs,
  })
  const other = await registerDevice(db, enrolment())
  t.notSame(other.id, id)
})

t.test('a device key is never accepted twice: not elsewhere, not after its device was revoked', async (t) => {
  const db = await openTest(t)
  const key = newKey()
  const { id } = await registerDevice(db, enrolment(key))
  const again = { name: 'RegistryError', reason: 'key already used' }
  await t.rejects(registerDevice(db, enrolment(key)), again)
  await t.rejects(registerDevice(db, enrolment(key, { carrier: 'river-post', serial: 'RP-1' })), again)
  await revokeDevice(db, { id, operator, nowMs })
  await t.rejects(registerDevice(db, enrolment(key)), again)
  t.equal((await listDevices(db, { limit: 10 })).length, 1)
})

t.test('of two registrations of one key at once, on two connections, one is refused', async (t) => {
  const file = join(t.testdir(), 'two.db')
  const [a, b] = [await openRegistry(file), await openRegistry(file)]
  t.teardown(() => Promise.all([a.destroy(), b.destroy()]))
  await admitCarrier(a, {
    id: 'swift-crane',
    name: 'X',
    outlets: [{ id: 'harbour', name: 'X' }],
    operator,
    nowMs,
  })
  const key = newKey()
  const ended = await Promise.allSettled([
    registerDevice(a, enrolment(key)),
    registerDevice(b, enrolment(key)),
  ])
  t.same(ended.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  t.match(
    ended.find(({ status }) => status === 'rejected'),
    { reason: { reason: 'key already used' } },
  )
  t.equal(await headOfChanges(a), 2)
})

t.test('what is wrong is refused with its word, and no change is written', async (t) => {
  const db = await openTest(t)
  const key = newKey()
  const good = enrolment(key)
  const p384 = generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey.export({
    format: 'der',
    type: 'spki',
  })
  const k256 = generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).publicKey.export({
    format: 'der',
    type: 'spki',
  })
  const offCurve = Buffer.concat([p256SpkiPrefix, Buffer.alloc(64, 1)])
  const compressed = Buffer.concat([p256SpkiPrefix.subarray(0, -1), Buffer.of(2), good.spki.subarray(27, 59)])
  const table: [word: string, given: typeof good][] = [
    ['carrier unknown', enrolment(newKey(), { carrier: 'no-such' })],
    ['outlet unknown', enrolment(newKey(), { outlet: 'no-such' })],
    ['outlet unknown', enrolment(newKey(), { outlet: 'Harbour' })],
    ['device malformed', enrolment(newKey(), { serial: '' })],
    ['device malformed', enrolment(newKey(), { serial: 'x'.repeat(65) })],
    ['device malformed', enrolment(newKey(), { serial: 'SC\n1' })],
    ['device malformed', enrolment(newKey(), { model: 'K7\u001b[2J' })],
    ['proof of possession wrong', { ...good, serial: 'SC-0002' }],
    ['proof of possession wrong', { ...good, carrier: 'river-post' }],
    ['proof of possession wrong', { ...good, spki: printP256Spki(newKey()) }],
    [
      'proof of possession wrong',
      { ...good, pop: signP256(key, bind('rotate', 'swift-crane', 'SC-0001', good.spki)) },
    ],
    ['proof of possession wrong', { ...good, pop: Buffer.alloc(64) }],
    ['spki not P-256', { ...good, spki: p384 }],
    ['spki not P-256', { ...good, spki: k256 }],
    ['spki not P-256', { ...good, spki: offCurve }],
    ['spki not P-256', { ...good, spki: compressed }],
    ['spki not P-256', { ...good, spki: Buffer.concat([good.spki, Buffer.of(0)]) }],
  ]
  for (const [reason, given] of table)
    await t.rejects(registerDevice(db, given), { name: 'RegistryError', reason })
  for (let length = 0; length < good.spki.length; length++) {
    await t.rejects(registerDevice(db, { ...good, spki: good.spki.subarray(0, length) }), {
      reason: 'spki not P-256',
      name: 'RegistryError',
    })
  }
  for (let length = 0; length < 64; length++) {
    const given = { ...good, pop: good.pop.subarray(0, length) }
    await t.rejects(registerDevice(db, given), { name: 'RegistryError', reason: 'proof of possession wrong' })
  }
  t.equal(await headOfChanges(db), 2)
})

t.test('a proof or key with any one bit flipped is refused', async (t) => {
  const db = await openTest(t)
  const good = enrolment()
  const refused = async (given: typeof good) =>
    registerDevice(db, given).then(
      () => 'registered',
      (error) => error.name,
    )
  const outcomes = new Set<string>()
  for (const field of ['pop', 'spki'] as const) {
    for (let bit = 0; bit < good[field].length * 8; bit++) {
      const flipped = Buffer.from(good[field])
      flipped[bit >> 3] = (flipped[bit >> 3] ?? 0) ^ (1 << (bit & 7))
      outcomes.add(await refused({ ...good, [field]: flipped }))
    }
  }
  t.same([...outcomes], ['RegistryError'])
  t.equal(await refused(good), 'registered', 'and as it was it is accepted')
})

t.test('revoking is for good, and only once', async (t) => {
  const db = await openTest(t)
  const { id } = await registerDevice(db, enrolment())
  t.same(await revokeDevice(db, { id, operator, nowMs }), { seq: 4 })
  await t.rejects(revokeDevice(db, { id, operator, nowMs }), {
    name: 'RegistryError',
    reason: 'device already revoked',
  })
  await t.rejects(revokeDevice(db, { id: Buffer.alloc(16), operator, nowMs }), {
    name: 'RegistryError',
    reason: 'device unknown',
  })
  await t.rejects(revokeDevice(db, { id: Buffer.alloc(0), operator, nowMs }), {
    name: 'RegistryError',
    reason: 'device unknown',
  })
  t.equal((await listDevices(db, { limit: 1 }))[0]?.status, 'revoked')
})

t.test('lists page by id, and by carrier; a suspended carrier still shows its devices', async (t) => {
  const db = await openTest(t)
  for (let i = 0; i < 7; i++) {
    await registerDevice(
      db,
      enrolment(newKey(), { serial: `S-${i}`, carrier: i % 2 ? 'river-post' : 'swift-crane' }),
    )
  }
  await suspendCarrier(db, { id: 'river-post', operator, nowMs })
  const seen: string[] = []
  for (;;) {
    const last = seen.at(-1)
    const after = last === undefined ? {} : { after: parseBase64url(last, 16) as Buffer }
    const page = await listDevices(db, { ...after, limit: 3 })
    if (page.length === 0) break
    seen.push(...page.map((row) => row.id))
  }
  t.equal(new Set(seen).size, 7)
  t.equal((await listDevices(db, { carrier: 'river-post', limit: 10 })).length, 3)
  t.same(await listDevices(db, { carrier: 'no-such', limit: 10 }), [])
})

t.test('the serial of a suspended device is not registered again, that of a revoked one is', async (t) => {
  const db = await openTest(t)
  const { id } = await registerDevice(db, enrolment())
  await registerDevice(db, enrolment(newKey(), { serial: 'SC-0002' }))
  await suspendDevice(db, { id, operator, nowMs })
  const held = { name: 'RegistryError', reason: 'serial suspended', message: /"SC-0001"/ }
  await t.rejects(registerDevice(db, enrolment()), held)
  await t.rejects(
    registerDevice(db, enrolment(newKey(), { outlet: 'old-bridge' })),
    held,
    'at another outlet',
  )
  await registerDevice(db, enrolment(newKey(), { serial: 'SC-0002' })) // Its first is active.
  await registerDevice(db, enrolment(newKey(), { carrier: 'river-post' })) // Serials are a carrier's own.
  const asked = ['SC-0003', 'SC-0001', 'SC-0004'].map((serial) => enrolment(newKey(), { serial }))
  const { result } = await changes(db, (tx) => enrol(tx, { carrier: 'swift-crane', asked, operator, nowMs }))
  t.match(result, [{ id: Buffer }, { refused: held }, { id: Buffer }], 'in bulk each stands by itself')
  await reinstateDevice(db, { id, operator, nowMs })
  await registerDevice(db, enrolment())
  await revokeDevice(db, { id, operator, nowMs })
  await registerDevice(db, enrolment()) // A repaired reader, with a new key.
})
