// Our HPKE against the CFRG's known answer, @hpke/core in both directions, and points that must be refused.
import { createPrivateKey, decapsulate, generateKeyPairSync } from 'node:crypto'
import { Aes256Gcm, CipherSuite, DhkemP256HkdfSha256, HkdfSha256 } from '@hpke/core'
import t from 'tap'
import { printP256Spki } from '../../src/base/p256.ts'
import { bind } from '../../src/base/t2l.ts'
import {
  decapsulateSession,
  encapsulateSession,
  exportSecret,
  recipientIdOf,
} from '../../src/channel/hpke.ts'

const suite = new CipherSuite({
  kem: new DhkemP256HkdfSha256(),
  kdf: new HkdfSha256(),
  aead: new Aes256Gcm(),
})
const context = Buffer.from('vouchsafe/reading/v1')
const makeKeys = () => generateKeyPairSync('ec', { namedCurve: 'P-256' })
const own = (bytes: Uint8Array) => new Uint8Array(bytes).buffer

// CFRG test-vectors.json, mode 0, KEM 16, KDF 1, AEAD 2: the suite of ours that RFC 9180's appendix leaves out.
const cfrg = {
  skR: '317f915db7bc629c48fe765587897e01e282d3e8445f79f27f65d031a88082b2',
  pkR:
    '04abc7e49a4c6b3566d77d0304addc6ed0e98512ffccf505e6a8e3eb25c685136f' +
    '853148544876de76c0f2ef99cdc3a05ccf5ded7860c7c021238f9e2073d2356c',
  enc:
    '04c06b4f6bebc7bb495cb797ab753f911aff80aefb86fd8b6fcc35525f3ab5f03e' +
    '0b21bd31a86c6048af3cb2d98e0d3bf01da5cc4c39ff5370d331a4f1f7d5a4e0',
  info: '4f6465206f6e2061204772656369616e2055726e',
  shared: '48893fecd82f7c3456af6a42d8f56325d21e08c10fa81299986aaff54cde7b49',
  exported: '7a4c2b89e1909fb0e3ca42d5040f4c2d8346dc0643d787b8474e804f8f72798e',
}

t.test('the known answer of the CFRG for this suite', (t) => {
  const hex = (text: string) => Buffer.from(text, 'hex')
  const point = hex(cfrg.pkR)
  const x = point.subarray(1, 33).toString('base64url')
  const y = point.subarray(33).toString('base64url')
  const d = hex(cfrg.skR).toString('base64url')
  const key = createPrivateKey({ key: { kty: 'EC', crv: 'P-256', d, x, y }, format: 'jwk' })
  const shared = decapsulate(key, hex(cfrg.enc))
  t.equal(shared.toString('hex'), cfrg.shared)
  t.equal(exportSecret(shared, hex(cfrg.info), Buffer.alloc(0)).toString('hex'), cfrg.exported)
  t.end()
})

t.test('the key schedule for AES-256-GCM gives what an independent implementation gives', async (t) => {
  const { privateKey, publicKey } = makeKeys()
  const id = recipientIdOf(printP256Spki(publicKey))
  const info = own(bind('hpke', id))
  for (let i = 0; i < 10; i++) {
    const theirKey = await suite.kem.importKey('jwk', publicKey.export({ format: 'jwk' }) as never, true)
    const sender = await suite.createSenderContext({ recipientPublicKey: theirKey, info })
    const exported = Buffer.from(await sender.export(own(context), 32))
    const opened = decapsulateSession(privateKey, id, Buffer.from(sender.enc))
    t.same(opened?.export(), exported, 'they send, we open')
  }
  for (let i = 0; i < 10; i++) {
    const { enc, key } = encapsulateSession(publicKey, id)
    const theirKey = await suite.kem.importKey('jwk', privateKey.export({ format: 'jwk' }) as never, false)
    const recipient = await suite.createRecipientContext({ recipientKey: theirKey, enc: own(enc), info })
    t.same(key.export(), Buffer.from(await recipient.export(own(context), 32)), 'we send, they open')
  }
})

t.test('every other form of a point is refused', (t) => {
  const { privateKey, publicKey } = makeKeys()
  const id = recipientIdOf(printP256Spki(publicKey))
  const { enc } = encapsulateSession(publicKey, id)
  t.ok(decapsulateSession(privateKey, id, enc))
  const hybrid = Buffer.from(enc)
  hybrid[0] = 6 | ((enc[64] as number) & 1)
  const compressed = Buffer.concat([Buffer.of(2 | ((enc[64] as number) & 1)), enc.subarray(1, 33)])
  const offCurve = Buffer.from(enc)
  offCurve[64] = (offCurve[64] as number) ^ 1
  const spki = printP256Spki(publicKey)
  const table = {
    hybrid,
    compressed,
    offCurve,
    empty: Buffer.alloc(0),
    infinity: Buffer.of(0),
    spki,
    zero: Buffer.alloc(65, 0),
  }
  for (const [name, bytes] of Object.entries(table)) t.notOk(decapsulateSession(privateKey, id, bytes), name)
  t.end()
})

t.test('an export is bound to the info and to the shared secret', (t) => {
  const shared = Buffer.alloc(32, 1)
  const one = exportSecret(shared, Buffer.from('a'), context)
  t.equal(one.length, 32)
  t.notSame(exportSecret(shared, Buffer.from('b'), context), one)
  t.notSame(exportSecret(Buffer.alloc(32, 2), Buffer.from('a'), context), one)
  t.end()
})
