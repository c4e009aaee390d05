// The keyring: keys ahead of use, one key per epoch whoever makes it, deleted at their end, nothing in clear.
import { createSecretKey, randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dayMs, hourMs, manualClock } from '../../src/base/clock.ts'
import { liveHolders } from '../../src/keys/holders.ts'
import { loadKeks, makeKek } from '../../src/keys/kek.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { kindNames } from '../../src/keys/kinds.ts'
import { rewrap } from '../../src/keys/rewrap.ts'
import { openKey, openKeyringFile, readKeys } from '../../src/keys/store.ts'

const startMs = Date.UTC(2026, 10, 24, 12)
const kek = () => new Map([[1, createSecretKey(randomBytes(32))]])

t.test('every kind has a current key, and two rings on one store hold the same keys', async (t) => {
  const file = join(t.testdir(), 'keyring.db')
  const clock = manualClock(startMs)
  const keks = kek()
  const [a, b] = await Promise.all([Keyring.open({ file, keks, clock }), Keyring.open({ file, keks, clock })])
  t.teardown(() => Promise.all([a.close(), b.close()]))
  for (const kind of kindNames) {
    const key = await a.current(kind)
    const other = await b.current(kind)
    t.equal(key.epoch, other.epoch)
    const options = { format: 'der', type: 'pkcs8' } as const
    const bytes = (k: typeof key) => (k.key.type === 'secret' ? k.key.export() : k.key.export(options))
    t.same(bytes(key), bytes(other), kind)
  }
  t.equal(statSync(file).mode & 0o777, 0o600)
})

t.test(
  'the next key is there before its epoch, the previous one stays, older ones are deleted',
  async (t) => {
    const file = join(t.testdir(), 'keyring.db')
    const clock = manualClock(startMs)
    const ring = await Keyring.open({ file, keks: kek(), clock })
    t.teardown(() => ring.close())
    const hour = ring.epochNow('challenge')
    const first = ring.get('challenge', hour)
    t.ok(first)
    t.notOk(ring.get('challenge', hour + 1), 'not yet')
    clock.advance(hourMs - 60_000)
    await ring.tend()
    const next = ring.get('challenge', hour + 1)
    t.ok(next, 'a minute ahead')
    clock.advance(61_000)
    await ring.tend()
    t.equal(ring.get('challenge', hour), first, 'previous')
    t.equal((await ring.current('challenge')).key, next)
    clock.advance(hourMs)
    await ring.tend()
    t.notOk(ring.get('challenge', hour), 'deleted')
    clock.advance(dayMs * 3)
    await ring.tend()
    t.equal(ring.all('cache').length, 1)
    t.equal(ring.all('record').length, 2, 'record keys stay until they are destroyed')
  },
)

t.test('an unknown epoch far away is not looked for, a near one is read once', async (t) => {
  const file = join(t.testdir(), 'keyring.db')
  const keks = kek()
  const clock = manualClock(startMs)
  const ring = await Keyring.open({ file, keks, clock })
  const other = await Keyring.open({ file, keks, clock: manualClock(startMs + hourMs) })
  t.teardown(() => Promise.all([ring.close(), other.close()]))
  const hour = ring.epochNow('challenge')
  t.notOk(await ring.find('challenge', hour + 2))
  t.ok(await ring.find('challenge', hour + 1), 'made by the other, read from the store')
})

t.test('no key lies in the file in clear, and a wrong KEK opens nothing', async (t) => {
  const file = join(t.testdir(), 'keyring.db')
  const clock = manualClock(startMs)
  const ring = await Keyring.open({ file, keks: kek(), clock })
  const secret = (await ring.current('cache')).key.export()
  const scalar = (await ring.current('token')).key.export({ format: 'jwk' }).d as string
  await ring.close()
  const bytes = readFileSync(file)
  t.notOk(bytes.includes(secret))
  t.notOk(bytes.includes(Buffer.from(scalar, 'base64url')))
  await t.rejects(Keyring.open({ file, keks: kek(), clock }), /does not open under KEK version 1/)
  const later = new Map([[2, createSecretKey(randomBytes(32))]])
  await t.rejects(Keyring.open({ file, keks: later, clock }), /needs KEK version 1/)
})

t.test(
  'a new KEK version is found while tending and reported, but nothing is sealed under it yet',
  async (t) => {
    const [file, directory] = [join(t.testdir(), 'keyring.db'), join(t.testdir(), 'certs')]
    mkdirSync(directory)
    makeKek(directory, 1)
    const clock = manualClock(startMs)
    const ring = await Keyring.open({ file, keks: () => loadKeks(directory), clock, node: 'gateway-1' })
    const db = openKeyringFile(file)
    t.teardown(() => db.close())
    const seen = () => liveHolders(db, clock.now())
    t.same(seen(), [{ node: 'gateway-1', kekVersion: 1, seenAtMs: startMs }], 'reported at once')
    makeKek(directory, 2)
    clock.advance(15_000)
    await ring.tend()
    t.same(seen(), [{ node: 'gateway-1', kekVersion: 2, seenAtMs: startMs + 15_000 }])
    clock.advance(30_000)
    await ring.tend()
    t.equal(seen()[0]?.seenAtMs, startMs + 15_000, 'not at every tending')
    clock.advance(15_000)
    await ring.tend()
    t.equal(seen()[0]?.seenAtMs, startMs + 60_000, 'but within a minute')
    clock.advance(hourMs)
    await ring.tend()
    t.ok(ring.get('challenge', ring.epochNow('challenge')))
    t.same(
      [...new Set(readKeys(db).map((row) => row.kek_version))],
      [1],
      'who has not loaded it can open all',
    )
    await ring.close()
    t.same(seen(), [], 'removed on close')
  },
)

t.test('a key made while all are wrapped anew is sealed under the new version', async (t) => {
  const file = join(t.testdir(), 'keyring.db')
  const keks = new Map([1, 2].map((version) => [version, createSecretKey(randomBytes(32))] as const))
  const first = await Keyring.open({
    file,
    keks: new Map([...keks].slice(0, 1)),
    clock: manualClock(startMs),
  })
  await first.close()
  const db = openKeyringFile(file)
  t.teardown(() => db.close())
  let armed = false
  const clock = {
    mono: () => 0,
    /** Asked last between sealing a key and writing it. */
    now() {
      const wrap = armed && new Error().stack?.includes('#insertSealed')
      armed &&= !wrap
      const given = { keks, version: 2, targets: {}, nowMs: startMs, also: () => {} }
      if (wrap) t.same(rewrap(db, given), [])
      return startMs + 10 * dayMs
    },
  }
  armed = true
  const ring = await Keyring.open({ file, keks, clock })
  t.equal(armed, false, 'it happened')
  t.same([...new Set(readKeys(db).map((row) => row.kek_version))], [2])
  const day = ring.epochNow('record')
  t.same(
    ring.get('record', day)?.export(),
    openKey(keks, readKeys(db, { kind: 'record', epoch: day })[0] as never),
  )
  await ring.close()
})

t.test('a folder of KEKs that cannot be read for a while takes nothing away', async (t) => {
  const [file, directory] = [join(t.testdir(), 'keyring.db'), join(t.testdir(), 'certs')]
  mkdirSync(directory)
  makeKek(directory, 1)
  const faults: unknown[] = []
  const clock = manualClock(startMs)
  const onFault = (cause: unknown) => faults.push(cause)
  const ring = await Keyring.open({ file, keks: () => loadKeks(directory), clock, onFault })
  t.teardown(() => ring.close())
  renameSync(directory, `${directory}-away`)
  clock.advance(hourMs)
  await ring.tend()
  t.match(faults, [{ code: 'ENOENT' }])
  t.ok(ring.isUsable())
  t.ok(ring.get('challenge', ring.epochNow('challenge')))
})

t.test('a key of a day long past is never made', async (t) => {
  const file = join(t.testdir(), 'keyring.db')
  const ring = await Keyring.open({ file, keks: kek(), clock: manualClock(startMs) })
  t.teardown(() => ring.close())
  const today = ring.epochNow('record')
  t.ok(await ring.ofDay('record', today - 1), 'yesterday: the day may just have ended')
  t.ok(await ring.ofDay('record', today + 3), 'a ledger whose time runs ahead')
  await t.rejects(ring.ofDay('record', today - 2), /record of epoch \d+ is missing/)
  t.same(
    ring.all('record').map(({ epoch }) => epoch - today),
    [-1, 0, 3],
  )
})
