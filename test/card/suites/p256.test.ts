// Suite 0x01: signatures by OpenSSL, and the forms of a signature that are not the one.
import { generateKeyPairSync, sign } from 'node:crypto'
import t from 'tap'
import { p256 } from '../../../src/card/suites/p256.ts'

const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const message = Buffer.from('message')
const order = 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551'
const integer = (hex: string) => {
  const bytes = Buffer.from(hex, 'hex')
  return Buffer.concat([Buffer.of(2, bytes.length), bytes])
}
const pair = (r: string, s: string) => {
  const body = Buffer.concat([integer(r), integer(s)])
  return Buffer.concat([Buffer.of(0x30, body.length), body])
}

t.test('a signature in DER is right for its message and key alone', async (t) => {
  const signature = sign('sha256', message, privateKey)
  const other = generateKeyPairSync('ec', { namedCurve: 'P-256' }).publicKey
  t.ok(p256.checkDer(publicKey, message, signature))
  t.notOk(p256.checkDer(publicKey, Buffer.from('massage'), signature))
  t.notOk(p256.checkDer(other, message, signature))
})

t.test('r and s are from 1 to n - 1, minimal and positive, with nothing behind', async (t) => {
  const good = sign('sha256', message, privateKey)
  const forms: [string, Buffer][] = [
    ['nothing', Buffer.alloc(0)],
    ['r = s = 0', pair('00', '00')],
    ['r = 0', pair('00', '01')],
    ['s = 0', pair('01', '00')],
    ['r = n', pair(`00${order}`, '01')],
    ['s = n', pair('01', `00${order}`)],
    ['negative', pair('ff', '01')],
    ['not minimal', pair('0001', '01')],
    ['34 bytes', pair('01'.repeat(34), '01')],
    ['one number', Buffer.from('3003020101', 'hex')],
    ['three numbers', Buffer.from('3009020101020101020101', 'hex')],
    ['trailing byte', Buffer.concat([good, Buffer.of(0)])],
    ['r||s', sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })],
  ]
  for (const [about, signature] of forms) t.notOk(p256.checkDer(publicKey, message, signature), about)
})

t.test('the chip’s form is r||s of 64 bytes, not DER', async (t) => {
  const raw = sign('sha256', message, { key: privateKey, dsaEncoding: 'ieee-p1363' })
  t.ok(p256.checkRaw(publicKey, message, raw))
  t.notOk(p256.checkRaw(publicKey, message, sign('sha256', message, privateKey)))
  t.notOk(p256.checkRaw(publicKey, message, Buffer.alloc(64)))
  t.notOk(p256.checkRaw(publicKey, message, Buffer.alloc(64, 255)))
  t.notOk(p256.checkRaw(publicKey, message, raw.subarray(0, 63)))
})
