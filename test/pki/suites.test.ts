// Both suites: signatures by OpenSSL and by their other half, and the forms of a signature that are not the one.
import { spawnSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { childrenOf, readDer, tags, wholeBits } from '../../src/base/der.ts'
import { p256Signing, printSpki, type Signing, signingOf, sm2Signing } from '../../src/pki/signing.ts'
import { derOfRaw, isSignedBy, p256, type SuiteKey, sm2, suiteById } from '../../src/pki/suites.ts'
import { worlds } from '../helpers/cards.ts'

const message = Buffer.from('message')
const orders = {
  'P-256': 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
  SM2: 'fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123',
}
const integer = (hex: string) => {
  const bytes = Buffer.from(hex, 'hex')
  return Buffer.concat([Buffer.of(2, bytes.length), bytes])
}
const pair = (r: string, s: string) => {
  const body = Buffer.concat([integer(r), integer(s)])
  return Buffer.concat([Buffer.of(0x30, body.length), body])
}
const plus = (hex: string, added: string) =>
  (BigInt(`0x${hex}`) + BigInt(`0x${added}`)).toString(16).padStart(66, '0')

function open(signing: Signing) {
  const privateKey = signing.makeKey()
  const key = signing.suite.importKey(printSpki(privateKey)) as SuiteKey
  return { privateKey, key, raw: signing.signRaw(privateKey, message) }
}

for (const signing of [p256Signing, sm2Signing]) {
  const { name, importKey } = signing.suite
  const order = orders[name]
  t.test(`${name}: a signature in DER is right for its message and key alone`, async (t) => {
    const { privateKey, key } = open(signing)
    const signature = signing.signDer(privateKey, message)
    t.ok(key.checkDer(message, signature))
    t.notOk(key.checkDer(Buffer.from('massage'), signature))
    t.notOk(open(signing).key.checkDer(message, signature))
  })

  t.test(`${name}: r and s are from 1 to n - 1, minimal and positive, with nothing behind`, async (t) => {
    const { privateKey, key, raw } = open(signing)
    const good = signing.signDer(privateKey, message)
    const [r, s] = [raw.subarray(0, 32).toString('hex'), raw.subarray(32).toString('hex')]
    const forms: [string, Buffer][] = [
      ['nothing', Buffer.alloc(0)],
      ['r = s = 0', pair('00', '00')],
      ['r = 0', pair('00', '01')],
      ['s = 0', pair('01', '00')],
      ['r = n', pair(`00${order}`, '01')],
      ['s = n', pair('01', `00${order}`)],
      ['r + n', pair(plus(r, order), `00${s}`.slice(Number.parseInt(s[0] ?? '', 16) < 8 ? 2 : 0))],
      ['negative', pair('ff', '01')],
      ['not minimal', pair('0001', '01')],
      ['34 bytes', pair('01'.repeat(34), '01')],
      ['one number', Buffer.from('3003020101', 'hex')],
      ['three numbers', Buffer.from('3009020101020101020101', 'hex')],
      ['trailing byte', Buffer.concat([good, Buffer.of(0)])],
      ['r||s', raw],
    ]
    for (const [about, signature] of forms) t.notOk(key.checkDer(message, signature), about)
  })

  t.test(`${name}: the chip’s form is r||s of 64 bytes, not DER`, async (t) => {
    const { privateKey, key, raw } = open(signing)
    t.ok(key.checkRaw(message, raw))
    t.ok(key.checkDer(message, derOfRaw(raw)), 'the same numbers in DER')
    t.notOk(key.checkRaw(message, signing.signDer(privateKey, message)))
    t.notOk(key.checkRaw(message, Buffer.alloc(64)))
    t.notOk(key.checkRaw(message, Buffer.alloc(64, 255)))
    t.notOk(key.checkRaw(message, Buffer.from(order + order, 'hex')))
    t.notOk(key.checkRaw(message, raw.subarray(0, 63)))
    t.notOk(key.checkRaw(message, Buffer.concat([raw, Buffer.of(0)])))
  })

  t.test(`${name}: a key has one form`, async (t) => {
    const spki = printSpki(signing.makeKey())
    t.ok(importKey(spki))
    const point = spki.subarray(-65)
    const hybrid = Buffer.from(spki)
    hybrid.writeUInt8(6 + (spki.readUInt8(90) & 1), 26)
    const forms: [string, Buffer][] = [
      ['cut', spki.subarray(0, 90)],
      ['a byte more', Buffer.concat([spki, Buffer.of(0)])],
      ['hybrid', hybrid],
      ['compressed', Buffer.concat([spki.subarray(0, 26), Buffer.of(2), point.subarray(1, 33)])],
      ['off the curve', Buffer.concat([spki.subarray(0, 27), Buffer.alloc(64, 1)])],
      ['infinity', Buffer.concat([spki.subarray(0, 26), Buffer.of(0)])],
      ['x and y of zero', Buffer.concat([spki.subarray(0, 27), Buffer.alloc(64)])],
      ['x of the field’s size', Buffer.concat([spki.subarray(0, 27), Buffer.alloc(64, 255)])],
    ]
    for (const [about, form] of forms) t.equal(importKey(form), undefined, about)
  })
}

t.test('a key of one suite is none of the other’s', async (t) => {
  for (const [one, other] of [
    [p256Signing, sm2Signing],
    [sm2Signing, p256Signing],
  ] as const) {
    const key = one.makeKey()
    t.equal(other.suite.importKey(printSpki(key)), undefined)
    t.equal(signingOf(key), one)
  }
})

t.test('suites are known by their number', async (t) => {
  t.same([0, 1, 2, 3].map(suiteById), [undefined, p256, sm2, undefined])
})

t.test('certificates and lists are signed by their issuer, in its suite', async (t) => {
  const [one, other] = worlds
  for (const { issuer, signer, makeCrl } of worlds) {
    const spki = printSpki(issuer.privateKey)
    t.ok(isSignedBy(signer.certificateDer, spki))
    t.ok(isSignedBy(makeCrl(), spki))
    t.notOk(isSignedBy(signer.certificateDer, printSpki(signer.privateKey)))
    t.throws(() => isSignedBy(signer.certificateDer.subarray(1), spki))
  }
  t.notOk(isSignedBy(one.signer.certificateDer, printSpki(other.issuer.privateKey)))
})

t.test('OpenSSL finds an SM2 list and certificate right, told the user id of GM/T 0009', async (t) => {
  const folder = t.testdir()
  const { issuer, signer, makeCrl } = worlds[1]
  const file = (name: string, bytes: Buffer | string) => {
    writeFileSync(join(folder, name), bytes)
    return join(folder, name)
  }
  const key = file(
    'key.pem',
    createPublicKey(issuer.privateKey).export({ format: 'pem', type: 'spki' }) as string,
  )
  for (const der of [makeCrl(), signer.certificateDer]) {
    const [tbs, , bits] = childrenOf(readDer(der), tags.sequence)
    const verify = [
      '-verify',
      key,
      '-signature',
      file('signature', wholeBits(bits)),
      file('tbs', tbs?.raw ?? ''),
    ]
    const run = (id: string) => spawnSync('openssl', ['dgst', '-sm3', '-sigopt', `distid:${id}`, ...verify])
    t.equal(run('1234567812345678').status, 0)
    t.not(run('8765432187654321').status, 0)
  }
})

t.test('the raw form becomes minimal DER for every length of r and s', async (t) => {
  for (const [r, s] of [
    [0, 1],
    [1, 0x80],
    [0x7f, 0xff],
  ] as const) {
    for (const at of [0, 1, 15, 31]) {
      const raw = Buffer.alloc(64)
      raw.writeUInt8(r, at)
      raw.writeUInt8(s, 32 + at)
      t.ok(readDer(derOfRaw(raw)), `${r} and ${s} at ${at}`)
    }
  }
})
