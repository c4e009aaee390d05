// A process's view of the registry: fresh by the beginning of its polls, honest about changes and failures.
import { generateKeyPairSync } from 'node:crypto'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { KyselyPlugin } from 'kysely'
import t, { type Test } from 'tap'
import { printBase64url, randomId } from '../../src/base/bytes.ts'
import { dayMs, manualClock, systemClock } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { printP256Spki, signP256 } from '../../src/base/p256.ts'
import { bind } from '../../src/base/t2l.ts'
import { admitCarrier, reinstateCarrier, suspendCarrier } from '../../src/registry/carriers.ts'
import { recordCertificate, revokeCertificate } from '../../src/registry/certificates.ts'
import type { Change } from '../../src/registry/changes.ts'
import { registerDevice, revokeDevice } from '../../src/registry/devices.ts'
import { createRegistryReader } from '../../src/registry/reader.ts'
import { revokeTokens } from '../../src/registry/revoked-tokens.ts'
import { openRegistry, type RegistryDb } from '../../src/registry/schema.ts'

const operator = 'lin.qiao'
const nowMs = Date.UTC(2026, 10, 24)
const act = { id: 'swift-crane', operator, nowMs }

function register(db: RegistryDb) {
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const spki = printP256Spki(privateKey)
  const place = { carrier: 'swift-crane', outlet: 'harbour', serial: 'SC-1', model: 'K7', operator, nowMs }
  return registerDevice(db, {
    ...place,
    spki,
    pop: signP256(privateKey, bind('enrol', place.carrier, 'SC-1', spki)),
  })
}

/** Holds back what the reader's queries of one table return, once `hold` was called; and can fail them. */
function createTap() {
  let gate: Promise<void> | undefined
  let open = () => {}
  let seen = () => {}
  let fault: Error | undefined
  let first = false
  const plugin: KyselyPlugin = {
    transformQuery: ({ node }) => node,
    async transformResult({ result }) {
      seen()
      const held = gate
      if (first) gate = undefined
      if (fault) throw fault
      await held
      return result
    },
  }
  return {
    plugin,
    /** The next results wait (or only the first). `reached` resolves when one was read and waits. */
    hold({ once = false } = {}) {
      first = once
      gate = new Promise((go) => {
        open = go
      })
      const reached = new Promise<void>((go) => {
        seen = go
      })
      return { reached }
    },
    release() {
      gate = undefined
      open()
    },
    fail(error: Error | undefined) {
      fault = error
    },
  }
}

/** One connection to write, another with a tap to read, as in two processes. */
async function startTest(t: Test) {
  const file = join(t.testdir(), 'registry.db')
  const db = await openRegistry(file)
  await admitCarrier(db, {
    ...act,
    name: 'Swift Crane Express',
    outlets: [{ id: 'harbour', name: 'Harbour' }],
  })
  const reading = await openRegistry(file)
  const tap = createTap()
  const clock = manualClock(nowMs)
  const errors: unknown[] = []
  const reader = createRegistryReader({
    db: reading.withPlugin(tap.plugin),
    clock,
    onError: (e) => errors.push(e),
  })
  t.teardown(async () => {
    tap.release()
    await reader.close()
    await Promise.all([db.destroy(), reading.destroy()])
  })
  return { db, reader, tap, clock, errors }
}

t.test('records are read with their keys, and unknown ids are undefined', async (t) => {
  const { db, reader } = await startTest(t)
  const { id } = await register(db)
  await reader.start()
  t.equal(reader.seq(), 2)
  t.same(await reader.carrier('swift-crane'), {
    id: 'swift-crane',
    name: 'Swift Crane Express',
    status: 'active',
    ...{ sandboxOf: null, conditions: null, quota: null, reviewAtMs: null },
  })
  const device = await reader.device(id)
  t.match(device, {
    carrier: 'swift-crane',
    outlet: 'harbour',
    status: 'active',
    notAfterMs: nowMs + 90 * dayMs,
  })
  t.same(device?.id, id)
  t.equal(device?.key.asymmetricKeyType, 'ec')
  t.equal(await reader.device(id), device, 'the same object: its key is imported once')
  t.equal(await reader.carrier('no-such'), undefined)
  t.equal(await reader.device(randomId()), undefined)
  t.equal(await reader.device(Buffer.alloc(0)), undefined)
})

t.test('a suspension, a reinstatement and a revocation bite at the next poll', async (t) => {
  const { db, reader } = await startTest(t)
  const { id } = await register(db)
  await reader.start()
  const told: Change[] = []
  const end = reader.onChange((change) => told.push(change))
  await reader.carrier('swift-crane')
  await reader.device(id)
  await suspendCarrier(db, act)
  await revokeDevice(db, { id, operator, nowMs })
  await reader.poll()
  t.equal((await reader.carrier('swift-crane'))?.status, 'suspended')
  t.equal((await reader.device(id))?.status, 'revoked')
  t.same(
    told.map(({ seq, kind, subject }) => ({ seq, kind, subject })),
    [
      { seq: 3, kind: 'carrier', subject: 'swift-crane' },
      { seq: 4, kind: 'device', subject: printBase64url(id) },
    ],
  )
  end()
  await reinstateCarrier(db, act)
  await reader.poll()
  t.equal((await reader.carrier('swift-crane'))?.status, 'active')
  t.equal(told.length, 2, 'a listener that ended hears no more')
})

t.test('a device registered after it was asked for in vain is found at the next poll', async (t) => {
  const { db, reader } = await startTest(t)
  await reader.start()
  t.equal(await reader.carrier('river-post'), undefined)
  await admitCarrier(db, { ...act, id: 'river-post', name: 'X', outlets: [] })
  t.equal(await reader.carrier('river-post'), undefined, 'known not to exist until the poll')
  await reader.poll()
  t.equal((await reader.carrier('river-post'))?.status, 'active')
})

t.test('a record read before a change and delivered after it is neither kept nor answered', async (t) => {
  const { db, reader, tap } = await startTest(t)
  await reader.start()
  const { reached } = tap.hold({ once: true })
  const asked = reader.carrier('swift-crane')
  await reached // It was read as active, and stays on its way.
  await suspendCarrier(db, act)
  await reader.poll()
  t.equal(reader.seq(), 2, 'the change is applied meanwhile')
  tap.release()
  t.equal((await asked)?.status, 'suspended', 'read again')
  t.equal((await reader.carrier('swift-crane'))?.status, 'suspended')
})

t.test('news is fresh for 750 ms from when its poll began, not from when it ended', async (t) => {
  const { reader, tap, clock } = await startTest(t)
  t.equal(reader.isFresh(), false, 'not before the first poll')
  await reader.start()
  t.equal(reader.isFresh(), true)
  clock.advance(limits.registryFreshMs - 1)
  const { reached } = tap.hold()
  const polled = reader.poll()
  await reached
  clock.advance(1)
  t.equal(reader.isFresh(), false, 'the first is too old, the second not back yet')
  clock.advance(500)
  tap.release()
  await polled
  t.equal(reader.isFresh(), true)
  clock.advance(limits.registryFreshMs - 501)
  t.equal(reader.isFresh(), false, 'it began 750 ms ago')
})

t.test('polls that fail make the view stale and are told, and the next good one heals it', async (t) => {
  const { reader, tap, clock, errors } = await startTest(t)
  await reader.start()
  tap.fail(new Error('disk gone'))
  clock.advance(limits.registryFreshMs)
  await t.rejects(reader.poll(), { message: 'disk gone' })
  t.equal(reader.isFresh(), false)
  await sleep(limits.registryPollMs * 1.5)
  t.match(errors, [{ message: 'disk gone' }], 'the timer went on and told its own failure')
  await t.rejects(reader.carrier('swift-crane'), { message: 'disk gone' })
  tap.fail(undefined)
  await reader.poll()
  t.equal(reader.isFresh(), true)
  t.equal((await reader.carrier('swift-crane'))?.status, 'active')
})

t.test('by its timer alone it hears of a suspension well within a second', async (t) => {
  const file = join(t.testdir(), 'timer.db')
  const db = await openRegistry(file)
  await admitCarrier(db, { ...act, name: 'X', outlets: [] })
  const reader = createRegistryReader({ db, clock: systemClock })
  t.teardown(async () => {
    await reader.close()
    await db.destroy()
  })
  await reader.start()
  await reader.carrier('swift-crane')
  const heard = new Promise<number>((resolve) => reader.onChange(() => resolve(systemClock.mono())))
  const begun = systemClock.mono()
  await suspendCarrier(db, act)
  t.ok((await heard) - begun < 900)
  t.equal((await reader.carrier('swift-crane'))?.status, 'suspended')
  t.equal(reader.isFresh(), true)
})

t.test(
  'a poll asked for while one is under way begins after it and sees what was written between',
  async (t) => {
    const { db, reader, tap } = await startTest(t)
    await reader.start()
    const { reached } = tap.hold()
    const first = reader.poll()
    await reached
    await suspendCarrier(db, act)
    const second = reader.poll()
    tap.release()
    await first
    await second
    t.equal(reader.seq(), 2)
  },
)

t.test('a listener that throws keeps the news from no other and from no record', async (t) => {
  const { db, reader, errors } = await startTest(t)
  await reader.start()
  await reader.carrier('swift-crane')
  const told: number[] = []
  reader.onChange(() => {
    throw new Error('listener broke')
  })
  reader.onChange(({ seq }) => told.push(seq))
  await suspendCarrier(db, act)
  await reinstateCarrier(db, act)
  await reader.poll()
  t.same(told, [2, 3])
  t.equal(errors.length, 2)
  t.equal(reader.isFresh(), true)
})

t.test('a head that goes backwards, or a gap in the changes, empties the memory', async (t) => {
  const { db, reader } = await startTest(t)
  await suspendCarrier(db, act)
  await reader.start()
  t.equal((await reader.carrier('swift-crane'))?.status, 'suspended')
  // As if an older backup was put in place.
  await db.deleteFrom('changes').where('seq', '=', 2).execute()
  await db.updateTable('counters').set({ value: 1 }).execute()
  await db.updateTable('carriers').set({ status: 'active' }).execute()
  await reader.poll()
  t.equal(reader.seq(), 1)
  t.equal((await reader.carrier('swift-crane'))?.status, 'active')
  await suspendCarrier(db, act)
  await admitCarrier(db, { ...act, id: 'river-post', name: 'X', outlets: [] })
  await db.deleteFrom('changes').where('seq', '=', 2).execute()
  await reader.poll()
  t.equal(reader.seq(), 3)
  t.equal((await reader.carrier('swift-crane'))?.status, 'suspended')
  await db.updateTable('counters').set({ value: 9 }).execute()
  await t.rejects(reader.poll(), { message: /has none after 3/ }, 'counted, but not there: not fresh')
})

t.test('more changes than a page are all applied, in order', async (t) => {
  const { db, reader } = await startTest(t)
  await reader.start()
  const rows = Array.from({ length: 2500 }, (_, i) => ({
    ...{ seq: i + 2, time: nowMs, kind: 'carrier', subject: `c-${i}`, operator, act: '{}' },
  }))
  for (let at = 0; at < rows.length; at += 500)
    await db
      .insertInto('changes')
      .values(rows.slice(at, at + 500))
      .execute()
  await db.updateTable('counters').set({ value: 2501 }).execute()
  const told: number[] = []
  reader.onChange(({ seq }) => told.push(seq))
  await reader.poll()
  t.same(
    told,
    rows.map(({ seq }) => seq),
  )
})

t.test('a closed reader polls no more and turns stale', async (t) => {
  const { db, reader, clock } = await startTest(t)
  await reader.start()
  await reader.close()
  await suspendCarrier(db, act)
  await sleep(limits.registryPollMs * 2)
  t.equal(reader.seq(), 1)
  clock.advance(limits.registryFreshMs)
  t.equal(reader.isFresh(), false)
})

const keptCertificate = {
  serial: 'AB01',
  carrier: 'swift-crane',
  keyHash: Buffer.alloc(32, 1),
  notAfterMs: nowMs + dayMs,
}
const aToken = { jti: Buffer.alloc(16, 9), carrier: 'swift-crane', endsAtMs: nowMs + dayMs }
const jti = printBase64url(aToken.jti)

t.test(
  'revoked certificates and tokens are known at the start, by the next poll, and after a gap',
  async (t) => {
    const { db, reader, clock } = await startTest(t)
    await recordCertificate(db, { ...keptCertificate, operator, nowMs })
    await reader.start()
    t.same([reader.isCertificateRevoked('AB01'), reader.isTokenRevoked(jti)], [false, false])
    await revokeCertificate(db, { serial: 'AB01', reason: 'lost', operator, nowMs })
    await revokeTokens(db, { tokens: [aToken], nowMs })
    await reader.poll()
    t.same([reader.isCertificateRevoked('AB01'), reader.isTokenRevoked(jti)], [true, true])
    const second = createRegistryReader({ db, clock })
    t.teardown(() => second.close())
    await second.start()
    t.same([second.isCertificateRevoked('AB01'), second.isTokenRevoked(jti)], [true, true], 'from the start')
    clock.advance(dayMs + 1)
    await reader.poll()
    t.same(
      [reader.isCertificateRevoked('AB01'), reader.isTokenRevoked(jti)],
      [false, false],
      'ended by themselves',
    )
  },
)

t.test('what is revoked while the rest is being read anew is not lost', async (t) => {
  const { db, reader, tap, clock } = await startTest(t)
  await recordCertificate(db, { ...keptCertificate, notAfterMs: nowMs + 30 * dayMs, operator, nowMs })
  await reader.start()
  clock.advance(dayMs)
  const { reached } = tap.hold({ once: true })
  const polling = reader.poll()
  await reached
  await revokeCertificate(db, { serial: 'AB01', reason: 'lost', operator, nowMs })
  tap.release()
  await polling
  await reader.poll()
  t.ok(reader.isCertificateRevoked('AB01'))
  tap.fail(new Error('the disk is gone'))
  await t.rejects(reader.poll(), /disk is gone/)
  t.ok(reader.isCertificateRevoked('AB01'), 'a failure forgets nothing')
})
