// The directory as served: only what the directory key signed, the last good one while a new one is wrong.
import { createSecretKey, generateKeyPairSync } from 'node:crypto'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { createDirectory, describeDirectory, findRecipient } from '../../plugins/directory.ts'
import { dayMs, manualClock } from '../../src/base/clock.ts'
import { printP256Spki } from '../../src/base/p256.ts'
import { openDirectory, signDirectory } from '../../src/channel/directory.ts'
import { recipientIdOf } from '../../src/channel/hpke.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { kindOf } from '../../src/keys/kinds.ts'
import { Reader } from '../../src/sdk/reader.ts'

const pair = generateKeyPairSync('ed25519')
const startMs = Date.UTC(2026, 10, 24, 12)

async function open(t: Test) {
  const clock = manualClock(startMs)
  const keyring = await Keyring.open({
    file: ':memory:',
    keks: new Map([[1, createSecretKey(Buffer.alloc(32, 1))]]),
    clock,
  })
  t.teardown(() => keyring.close())
  const parts = { keyring, tokens: { tokenKeys: () => [] }, ledgerVkey: 'x', minFirmware: 1, clock }
  const faults: unknown[] = []
  const onFault = (cause: unknown) => faults.push(cause)
  return { clock, keyring, parts, faults, onFault, file: join(t.testdir(), 'directory.jwt') }
}

t.test('a file that is empty, foreign, expired or no directory is refused at the start', async (t) => {
  const { parts, onFault, file, clock } = await open(t)
  const source = { file, signedBy: pair.publicKey }
  const good = describeDirectory(parts)
  const stranger = generateKeyPairSync('ed25519').privateKey
  const table: [what: string, text: string][] = [
    ['empty', ''],
    ['no directory', 'eyJhbGciOiJub25lIn0.e30.'],
    ['of another key', signDirectory(good, stranger)],
    ['expired', signDirectory({ ...good, exp: Math.floor(clock.now() / 1000) - 1 }, pair.privateKey)],
  ]
  for (const [what, text] of table) {
    writeFileSync(file, text)
    t.throws(() => createDirectory({ ...parts, source, onFault }), what)
  }
  rmSync(file)
  t.throws(() => createDirectory({ ...parts, source, onFault }), /ENOENT/)
})

t.test(
  'readiness falls 48 h before the end, and comes back with a new file that nobody fetched',
  async (t) => {
    const { parts, onFault, faults, file, clock } = await open(t)
    writeFileSync(file, signDirectory(describeDirectory(parts), pair.privateKey))
    const timers: (() => void)[] = []
    const setInterval = globalThis.setInterval
    globalThis.setInterval = ((run: () => void) => {
      timers.push(run)
      return { unref: () => undefined } as unknown as NodeJS.Timeout
    }) as typeof globalThis.setInterval
    const directory = createDirectory({ ...parts, source: { file, signedBy: pair.publicKey }, onFault })
    globalThis.setInterval = setInterval
    const tick = () => {
      for (const run of timers) run()
    }
    t.equal(directory.isFresh(), true)
    clock.advance(5 * dayMs + 1000)
    tick()
    t.equal(directory.isFresh(), false)
    const before = directory.current()
    writeFileSync(file, 'rubbish')
    tick()
    t.equal(directory.current(), before, 'the last good one stands')
    rmSync(file)
    tick()
    t.equal(directory.current(), before)
    t.equal(faults.length, 2)
    writeFileSync(file, signDirectory(describeDirectory(parts), pair.privateKey))
    tick()
    t.equal(directory.isFresh(), true)
    t.not(directory.current(), before)
    directory.close()
  },
)

t.test('a reader passes over a recipient key that ended, and the gateway takes what it chose', async (t) => {
  const { parts, clock, keyring } = await open(t)
  const { lengthMs, aheadMs } = kindOf('recipient')
  const endMs = (keyring.epochNow('recipient') + 1) * lengthMs
  clock.advance(endMs - aheadMs - clock.now() + 1000)
  await keyring.tend()
  clock.advance(endMs - 3 * dayMs - clock.now())
  const jws = signDirectory(describeDirectory(parts), pair.privateKey)
  const content = openDirectory(jws, { key: pair.publicKey, nowS: clock.now() / 1000, lastSeq: 0 })
  t.equal(content?.recipients.length, 2, 'this one and the next')
  const deviceKey = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey
  const reader = new Reader({
    device: Buffer.alloc(16, 1),
    deviceKey,
    directoryKey: pair.publicKey,
    firmware: 1,
  })
  reader.acceptDirectory(jws, clock.now())
  const chosen = () => reader.openSession(Buffer.alloc(42), clock.now()).recipient
  const ids = keyring
    .all('recipient')
    .map(({ key }) => recipientIdOf(printP256Spki(key)).toString('base64url'))
  t.equal(chosen(), ids[0])
  clock.advance(4.5 * dayMs)
  await keyring.tend()
  t.equal(chosen(), ids[1], 'the first ended 1.5 days ago')
  t.ok(findRecipient(keyring, Buffer.from(chosen(), 'base64url'), clock.now()))
  t.equal(findRecipient(keyring, Buffer.from(ids[0] ?? '', 'base64url'), clock.now()), undefined)
  clock.advance(60 * dayMs)
  t.throws(() => chosen(), /no recipient key that is still in use/)
})
