// The directory is a JWS that jose verifies too; a reader takes only a newer one of the pinned key.
import { generateKeyPairSync } from 'node:crypto'
import { compactVerify } from 'jose'
import t from 'tap'
import { printVkey } from '../../src/base/vkey.ts'
import { type DirectoryContent, openDirectory, signDirectory } from '../../src/channel/directory.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const nowS = 1_790_000_000
const content: DirectoryContent = {
  seq: nowS,
  iat: nowS,
  exp: nowS + 7 * 86_400,
  recipients: [],
  tokenKeys: [],
  ledger: printVkey('localhost', privateKey),
  minFirmware: 1,
}
const open = (jws: string, more: Partial<Parameters<typeof openDirectory>[1]> = {}) =>
  openDirectory(jws, { key: publicKey, nowS, lastSeq: 0, ...more })

t.test('jose verifies it and sees the same content', async (t) => {
  const jws = signDirectory(content, privateKey)
  const { payload, protectedHeader } = await compactVerify(jws, publicKey)
  t.same(protectedHeader, { alg: 'EdDSA', typ: 'directory+jwt' })
  t.same(JSON.parse(Buffer.from(payload).toString()), content)
  t.same(open(jws), content)
})

t.test('an older, expired, long-lived, altered or foreign one is refused', (t) => {
  const jws = signDirectory(content, privateKey)
  t.equal(open(jws, { lastSeq: nowS + 1 }), undefined)
  t.ok(open(jws, { lastSeq: nowS }), 'the same again is fine')
  t.equal(open(jws, { nowS: nowS + 7 * 86_400 }), undefined)
  t.equal(open(signDirectory({ ...content, exp: nowS + 8 * 86_400 }, privateKey)), undefined)
  t.equal(open(signDirectory(content, generateKeyPairSync('ed25519').privateKey)), undefined)
  for (let at = 0; at < jws.length; at += 5) {
    const bent = jws.slice(0, at) + (jws[at] === 'A' ? 'B' : 'A') + jws.slice(at + 1)
    t.equal(open(bent), undefined)
  }
  t.match(content.ledger, /^localhost\+[0-9a-f]{8}\+[A-Za-z0-9+/]{43,44}=?$/)
  t.end()
})
