// The keyring: keys ahead of use, one key per epoch whoever makes it, deleted at their end, nothing in clear.
import { createSecretKey, randomBytes } from 'node:crypto'
import { readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { dayMs, hourMs, manualClock } from '../../src/base/clock.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { kindNames } from '../../src/keys/kinds.ts'

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
