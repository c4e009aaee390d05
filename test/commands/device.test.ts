// `vouchsafe device`, as a person types it, with keys and proofs made by openssl.
import { execFileSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { printBase64url } from '../../src/base/bytes.ts'
import { manualClock } from '../../src/base/clock.ts'
import { bind } from '../../src/base/t2l.ts'
import { runDevice } from '../../src/commands/device.ts'
import { admitCarrier } from '../../src/registry/carriers.ts'
import { registerDevice } from '../../src/registry/devices.ts'
import { addOperator } from '../../src/registry/operators.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const openssl = (args: string[], input?: Buffer) => execFileSync('openssl', args, input ? { input } : {})

/** r||s of openssl's DER signature: SEQUENCE of two INTEGERs. */
function rawSignature(der: Buffer): Buffer {
  const integer = (at: number) => der.subarray(at + 2, at + 2 + (der[at + 1] ?? 0))
  const r = integer(2)
  const s = integer(4 + r.length)
  const fixed = (n: Buffer) => Buffer.concat([Buffer.alloc(32), n]).subarray(-32)
  return Buffer.concat([fixed(r), fixed(s)])
}

/** A handheld's key in files, and its proof of possession, all by openssl. */
function makeHandheld(dir: string, serial: string) {
  const file = (name: string) => join(dir, `${serial}.${name}`)
  openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-256', '-out', file('key')])
  openssl(['pkey', '-in', file('key'), '-pubout', '-out', file('pem')])
  openssl(['pkey', '-in', file('key'), '-pubout', '-outform', 'DER', '-out', file('der')])
  const spki = openssl(['pkey', '-in', file('key'), '-pubout', '-outform', 'DER'])
  writeFileSync(file('message'), bind('enrol', 'swift-crane', serial, spki))
  const der = openssl(['dgst', '-sha256', '-sign', file('key'), file('message')])
  const place = ['--carrier', 'swift-crane', '--outlet', 'harbour', '--serial', serial, '--model', 'K7']
  return { file, spki, derPop: der, pop: rawSignature(der), place }
}

async function startTest(t: Test) {
  const dir = t.testdir()
  const dataDir = join(dir, 'data')
  mkdirSync(dataDir)
  const db = await openRegistry(join(dataDir, 'registry.db'))
  t.teardown(() => db.destroy())
  const name = 'lin.qiao'
  const { secret } = await addOperator(db, { name, role: 'admin', by: name, nowMs: 1 })
  const outlets = [{ id: 'harbour', name: 'Harbour' }]
  await admitCarrier(db, { id: 'swift-crane', name: 'X', outlets, operator: name, nowMs: 1 })
  const operator: { now: { name: string; secret: string } | undefined } = { now: { name, secret } }
  async function type(...args: string[]) {
    const [out, err]: [string[], string[]] = [[], []]
    const code = await runDevice(args, {
      ...{ out: (line: string) => out.push(line), err: (line: string) => err.push(line), dataDir },
      ...{
        clock: manualClock(Date.UTC(2026, 10, 24)),
        operator: operator.now,
        waitForEntry: async () => true,
      },
    })
    return { code, out, err }
  }
  return { type, db, dir, operator }
}

t.test(
  'a handheld is registered from PEM or DER, listed, revoked, and its key is refused for ever',
  async (t) => {
    const { type, dir } = await startTest(t)
    const ids: string[] = []
    for (const form of ['pem', 'der']) {
      const { file, pop, place } = makeHandheld(dir, `SC-${form}`)
      const said = await type('register', ...place, '--key', file(form), `--pop=${printBase64url(pop)}`)
      t.match(said, {
        code: 0,
        out: [/^Device [\w-]{22} is registered for swift-crane\/harbour\.$/, /recorded/],
        err: [],
      })
      ids.push(said.out[0]?.split(' ')[1] ?? '')
      const again = await type('register', ...place, '--key', file('der'), `--pop=${printBase64url(pop)}`)
      t.match(again, { code: 1, err: [/registered before; make a new one/] })
    }
    const id = ids[0] ?? ''
    t.match(await type('revoke', id), { code: 0, out: [`Device ${id} is revoked.`, /recorded/] })
    t.match(await type('revoke', id), { code: 1, err: [/revoked already/] })
    const { code, out } = await type('list', '--carrier', 'swift-crane')
    t.equal(code, 0)
    t.ok(out.includes(`${id}\trevoked\tswift-crane/harbour\tK7\tSC-pem\tuntil 2027-02-22`), out.join('\n'))
  },
)

t.test('a list that is cut says so and how to go on', async (t) => {
  const { type, dir } = await startTest(t)
  for (let i = 0; i < 3; i++) {
    const { file, pop, place } = makeHandheld(dir, `S-${i}`)
    await type('register', ...place, '--key', file('pem'), `--pop=${printBase64url(pop)}`)
  }
  const first = await type('list', '--limit', '2')
  t.equal(first.out.length, 2)
  const next = /go on with (--after=\S+)/.exec(first.err[0] ?? '')?.[1] ?? ''
  const second = await type('list', '--limit', '2', next)
  t.equal(second.out.length, 1)
  t.same(second.err, [])
  t.match(await type('list', '--carrier', 'no-such'), { code: 0, out: [] })
})

t.test('an id that begins with "-" can be revoked as it is shown', async (t) => {
  const { type, db, dir } = await startTest(t)
  const { spki, pop } = makeHandheld(dir, 'S-1')
  const place = { carrier: 'swift-crane', outlet: 'harbour', serial: 'S-1', model: 'K7' }
  await registerDevice(db, { ...place, spki, pop, operator: 'lin.qiao', nowMs: 1 })
  const id = Buffer.alloc(16, 0xf8)
  await db.updateTable('devices').set({ id }).execute()
  t.match(printBase64url(id), /^-/)
  t.match(await type('revoke', printBase64url(id)), { code: 0, out: [/is revoked/, /./] })
})

t.test('what is refused exits with 1 and says which value and what to do', async (t) => {
  const { type, dir, operator } = await startTest(t)
  const { file, pop, place } = makeHandheld(dir, 'SC-1')
  const other = makeHandheld(dir, 'SC-2')
  openssl(['genpkey', '-algorithm', 'EC', '-pkeyopt', 'ec_paramgen_curve:P-384', '-out', file('p384')])
  openssl(['pkey', '-in', file('p384'), '-pubout', '-out', file('p384.pem')])
  writeFileSync(file('armour'), '-----BEGIN PUBLIC KEY-----\nnothing')
  const proof = `--pop=${printBase64url(pop)}`
  const register = (key: string, ...more: string[]) => ['register', ...place, '--key', key, proof, ...more]
  const table: [args: string[], said: RegExp][] = [
    [register(file('absent')), /--key .*absent cannot be read \(ENOENT.*Give a file with the public key/],
    [register(dir), /cannot be read \(EISDIR/],
    [register(file('armour')), /holds no PEM block/],
    [register(file('key')), /must be an uncompressed P-256 SPKI/],
    [register(file('p384.pem')), /must be an uncompressed P-256 SPKI/],
    [register(file('message')), /must be an uncompressed P-256 SPKI/],
    [register(other.file('pem')), /proof of possession is not by this key/],
    [register(file('pem'), '--serial', 'SC-9'), /over enrol\{"swift-crane", "SC-9", spki\}/],
    [register(file('pem'), '--outlet', 'x'), /Carrier "swift-crane" has no outlet "x"/],
    [['revoke', printBase64url(Buffer.alloc(16))], /Device A{22} is unknown/],
  ]
  for (const [args, said] of table)
    t.match(await type(...args), { code: 1, out: [], err: [said] }, String(said))
  operator.now = undefined
  t.match(await type(...register(file('pem'))), { code: 1, err: [/Who acts\?/] })
  t.match(await type('revoke', 'A'.repeat(22)), { code: 1, err: [/Who acts\?/] })
  t.match(await type('list'), { code: 0, out: [] }, 'nothing was registered')
})

t.test('what cannot be understood exits with 64 and names what was wrong', async (t) => {
  const { type, dir } = await startTest(t)
  const { file, derPop, place } = makeHandheld(dir, 'SC-1')
  const key = ['--key', file('pem')]
  const table: [args: string[], said: RegExp][] = [
    [[], /vouchsafe device register/],
    [['revoke'], /vouchsafe device register/],
    [['list', 'more'], /vouchsafe device register/],
    [['register', '--carrier', 'swift-crane'], /^Missing: --outlet, --serial, --model, --key, --pop\. See/],
    [
      ['register', ...place, ...key, '--pop', printBase64url(derPop)],
      /--pop is not 64 bytes.*not a DER signature/,
    ],
    [['register', ...place, ...key, '--pop='], /--pop is not 64 bytes/],
    [['revoke', 'abc'], /Device id "abc" is not 16 bytes/],
    [['revoke', `${'A'.repeat(21)}B`], /is not 16 bytes/],
    [['list', '--after', 'abc'], /Device id "abc" is not 16 bytes/],
    [['list', '--limit', '0'], /--limit "0" is not a number from 1 to 1000/],
    [['list', '--limit', '1e3'], /--limit "1e3"/],
    [['list', '--all'], /Unknown option '--all'/],
  ]
  for (const [args, said] of table)
    t.match(await type(...args), { code: 64, out: [], err: [said] }, args.join(' '))
  t.match(await type('--help'), { code: 0, out: [/vouchsafe device revoke DEVICE/], err: [] })
})
