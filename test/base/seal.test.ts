// Sealing: opens under its own key and AAD or not at all, and never twice to the same bytes.
import { createDecipheriv, createSecretKey, randomBytes } from 'node:crypto'
import t from 'tap'
import { nonceBytes, open, seal, sealOverhead, tagBytes } from '../../src/base/seal.ts'

const key = createSecretKey(randomBytes(32))
const aad = Buffer.from('vouchsafe/seal/v1\0 of one device')

t.test('nonce12, ciphertext, tag16: what anyone with the key and AES-256-GCM can open', (t) => {
  const plain = Buffer.from('a reading')
  const sealed = seal(key, plain, aad)
  t.same([nonceBytes, tagBytes, sealed.length], [12, 16, plain.length + 28])
  const twin = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12)).setAAD(aad)
  twin.setAuthTag(sealed.subarray(-16))
  t.equal(Buffer.concat([twin.update(sealed.subarray(12, -16)), twin.final()]).toString(), 'a reading')
  t.notOk(sealed.includes(plain))
  t.end()
})

t.test('what was sealed opens, of any length, an empty one too', (t) => {
  for (const length of [0, 1, 15, 16, 17, 48, 2048, 100_000]) {
    const plain = randomBytes(length)
    const sealed = seal(key, plain, aad)
    t.equal(sealed.length, length + sealOverhead)
    t.ok(open(key, sealed, aad)?.equals(plain), `${length} bytes`)
  }
  t.end()
})

t.test('every flipped bit, every truncation and every longer form is refused', (t) => {
  const sealed = seal(key, randomBytes(48), aad)
  for (let bit = 0; bit < sealed.length * 8; bit++) {
    const bent = Buffer.from(sealed)
    bent.writeUInt8(bent.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    if (open(key, bent, aad)) t.fail(`bit ${bit}`)
  }
  for (let length = 0; length < sealed.length; length++) {
    t.equal(open(key, sealed.subarray(0, length), aad), undefined, `${length} bytes`)
  }
  t.equal(open(key, Buffer.concat([sealed, Buffer.of(0)]), aad), undefined)
  t.equal(open(key, Buffer.concat([Buffer.of(0), sealed]), aad), undefined)
  t.equal(open(key, sealed.subarray(1), aad), undefined)
  t.ok(open(key, sealed, aad), 'and the true one still opens')
  t.end()
})

t.test('bytes that are nobody’s seal are refused, whatever their length', (t) => {
  for (let length = 0; length < 64; length++) {
    t.equal(open(key, Buffer.alloc(length), aad), undefined, `${length} zeros`)
    t.equal(open(key, randomBytes(length), aad), undefined, `${length} random bytes`)
  }
  t.end()
})

t.test('another key or another AAD opens nothing', (t) => {
  const sealed = seal(key, Buffer.from('x'), aad)
  const near = key.export()
  near.writeUInt8(near.readUInt8(31) ^ 1, 31)
  t.equal(open(createSecretKey(near), sealed, aad), undefined, 'a key one bit away')
  t.equal(open(createSecretKey(randomBytes(32)), sealed, aad), undefined)
  const others: [what: string, aad: Buffer][] = [
    ['none', Buffer.alloc(0)],
    ['shorter', aad.subarray(0, -1)],
    ['longer', Buffer.concat([aad, Buffer.of(0)])],
    ['one bit', Buffer.from(aad).fill(aad.readUInt8(0) ^ 1, 0, 1)],
  ]
  for (const [what, other] of others) t.equal(open(key, sealed, other), undefined, what)
  t.end()
})

t.test('no two seals share a nonce, so equal plain texts look different', (t) => {
  const plain = Buffer.alloc(48)
  const seals = Array.from({ length: 2000 }, () => seal(key, plain, aad))
  t.equal(new Set(seals.map((each) => each.toString('hex', 0, nonceBytes))).size, 2000)
  t.equal(new Set(seals.map((each) => each.toString('hex', nonceBytes))).size, 2000)
  t.end()
})

t.test('only keys of 256 bits are taken', (t) => {
  for (const bytes of [16, 24, 31, 33]) {
    t.throws(() => seal(createSecretKey(randomBytes(bytes)), Buffer.of(1), aad), `${bytes} bytes`)
  }
  t.end()
})
