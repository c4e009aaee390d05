// The signed list of card issuers: what was signed is read again, and nothing else ever is.
import { createHmac, createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import t from 'tap'
import { printBase64url } from '../../src/base/bytes.ts'
import { dayMs } from '../../src/base/clock.ts'
import { limits } from '../../src/base/limits.ts'
import { p256, sm2 } from '../../src/pki/suites.ts'
import {
  type ListedAnchor,
  openTrustList,
  placeKind,
  signTrustList,
  type TrustClaims,
  TrustListError,
} from '../../src/pki/trust-list.ts'
import { nowMs, worlds } from '../helpers/cards.ts'

const { privateKey, publicKey } = generateKeyPairSync('ed25519')
const [world1, world2] = worlds
const iat = Math.floor(nowMs / 1000)

const listed = (given: Partial<ListedAnchor> = {}): ListedAnchor => ({
  certificate: printBase64url(world1.issuer.certificateDer),
  suite: 1,
  state: 'CHN',
  authorities: [],
  lists: ['card-issuer.crl'],
  ...given,
})
const other = listed({
  certificate: printBase64url(world2.issuer.certificateDer),
  suite: 2,
  authorities: ['第一虚构市'],
  lists: ['https://lists.example/sm2.crl?of=1', 'http://lists.example/sm2.crl'],
})
const claims: TrustClaims = { seq: 7, iat, exp: iat + 90 * 86_400, anchors: [listed(), other] }

const encode = (text: string) => printBase64url(Buffer.from(text))
const header = encode(JSON.stringify({ alg: 'EdDSA', typ: 'card-trust+jwt' }))
/** Signs any text as a list. */
function signText(text: string | Buffer, head = header, key: KeyObject = privateKey): string {
  const signed = `${head}.${printBase64url(Buffer.from(text))}`
  return `${signed}.${printBase64url(sign(null, Buffer.from(signed), key))}`
}
const signAny = (value: unknown) => signText(JSON.stringify(value))

t.test('what was signed is read again', async (t) => {
  const jws = signTrustList(claims, privateKey)
  const list = openTrustList(jws, publicKey)
  t.same([list.seq, list.issuedMs, list.notAfterMs], [7, iat * 1000, iat * 1000 + 90 * dayMs])
  t.equal(list.jws, jws)
  const [first, second] = list.issuers
  t.equal(first?.anchor.suite, p256)
  t.same([first?.anchor.state, first?.anchor.authorities, first?.lists], ['CHN', [], ['card-issuer.crl']])
  t.same(first?.certificate, world1.issuer.certificateDer)
  t.equal(second?.anchor.suite, sm2)
  t.same([second?.anchor.authorities, second?.lists], [['第一虚构市'], other.lists])
})

/** Each must be refused, for the reason and with the words beside it. */
const refused: [name: string, jws: () => string, reason: 'signature' | 'content', says: RegExp][] = [
  [
    'another key',
    () => signText(JSON.stringify(claims), header, generateKeyPairSync('ed25519').privateKey),
    'signature',
    /card-trust\.pub.+Fix: put/,
  ],
  [
    'alg none',
    () => `${encode('{"alg":"none","typ":"card-trust+jwt"}')}.${encode(JSON.stringify(claims))}.`,
    'content',
    /no|not/,
  ],
  [
    'HS256 with the public key as the secret',
    () => {
      const signed = `${encode('{"alg":"HS256","typ":"card-trust+jwt"}')}.${encode(JSON.stringify(claims))}`
      const secret = publicKey.export({ format: 'pem', type: 'spki' })
      return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
    },
    'content',
    /not a list of this kind/,
  ],
  [
    'a directory',
    () => signText(JSON.stringify(claims), encode('{"alg":"EdDSA","typ":"directory+jwt"}')),
    'content',
    /not a list of this kind/,
  ],
  [
    'no type',
    () => signText(JSON.stringify(claims), encode('{"alg":"EdDSA"}')),
    'content',
    /not a list of this kind/,
  ],
  [
    'a header of the same meaning in another order',
    () => signText(JSON.stringify(claims), encode('{"typ":"card-trust+jwt","alg":"EdDSA"}')),
    'content',
    /not a list of this kind/,
  ],
  [
    'a key in the header',
    () => signText(JSON.stringify(claims), encode('{"alg":"EdDSA","typ":"card-trust+jwt","jwk":{}}')),
    'content',
    /not a list of this kind/,
  ],
  ['nothing', () => '', 'content', /not a list of this kind/],
  ['a fourth part', () => `${signAny(claims)}.`, 'content', /not a list of this kind/],
  ['a signature with padding', () => `${signAny(claims)}==`, 'signature', /card-trust\.pub/],
  ['a text around it', () => ` ${signAny(claims)}`, 'content', /not a list of this kind/],
  ['no JSON', () => signText('{'), 'content', /holds no JSON/],
  ['bytes that are no UTF-8', () => signText(Buffer.of(0x22, 0xff, 0x22)), 'content', /holds no JSON/],
  [
    'a member twice',
    () => signText(JSON.stringify(claims).replace('"seq":7', '"seq":7,"seq":8')),
    'content',
    /holds no JSON/,
  ],
  [
    'a member of an anchor twice',
    () => signText(JSON.stringify(claims).replace('"suite":1', '"suite":1,"suite":1')),
    'content',
    /holds no JSON/,
  ],
  ['more than 2 MiB', () => signAny({ ...claims, pad: 'x'.repeat(2 ** 21) }), 'content', /characters/],
]

/** Claims that are wrong, with what is said of them. */
const wrong: [name: string, claims: unknown, says: RegExp][] = [
  ['an array', [claims], /it is no object/],
  ['null', null, /it is no object/],
  ['an unknown member', { ...claims, note: 'x' }, /exactly seq, iat, exp, anchors/],
  ['no exp', { seq: 7, iat, anchors: claims.anchors }, /exactly/],
  ...[0, -1, 1.5, '7', 2 ** 53, null].map(
    (seq) => [`seq ${seq}`, { ...claims, seq }, /seq is no/] as [string, unknown, RegExp],
  ),
  ['exp before iat', { ...claims, exp: iat - 1 }, /two times in order/],
  ['exp at iat', { ...claims, exp: iat }, /two times in order/],
  ['times in ms', { ...claims, iat: nowMs, exp: nowMs + 1 }, /two times in order/],
  ['401 days', { ...claims, exp: iat + 401 * 86_400 }, /more than 400 days/],
  ['no anchors', { ...claims, anchors: [] }, /anchors is empty/],
  ['anchors by name', { ...claims, anchors: { a: listed() } }, /anchors is empty/],
  ['1001 anchors', { ...claims, anchors: Array(1001).fill(listed()) }, /more than 1000 anchors/],
  ['the same issuer twice', { ...claims, anchors: [listed(), listed({ lists: ['b.crl'] })] }, /once more/],
  [
    'a place of two issuers',
    { ...claims, anchors: [listed(), { ...other, lists: ['card-issuer.crl'] }] },
    /anchor 2 has a place of anchor 1/,
  ],
]

/** One anchor that is wrong, after one that is right. */
const wrongAnchors: [name: string, anchor: unknown, says: RegExp][] = [
  ['no object', 'card-issuer.crt', /anchor 2 is no object/],
  ['an unknown member', { ...listed(), url: '' }, /anchor 2 must have exactly certificate/],
  ['a member missing', { ...listed(), state: undefined }, /anchor 2 must have exactly/],
  ['the suite of another curve', { ...other, suite: 1 }, /certificate of anchor 2.+not P-256/],
  [
    'SM2 for a P-256 key',
    { ...other, certificate: listed().certificate },
    /certificate of anchor 2.+not SM2/,
  ],
  ...[0, 3, '1', null].map(
    (suite) => [`suite ${suite}`, { ...other, suite }, /suite of anchor 2/] as [string, unknown, RegExp],
  ),
  ...['chn', 'CN', 'CHNA', '', 7, 'CHN\n'].map(
    (state) => [`state ${state}`, { ...other, state }, /state of anchor 2/] as [string, unknown, RegExp],
  ),
  ['a certificate in base64', { ...other, certificate: `${other.certificate}==` }, /not base64url/],
  ['no certificate', { ...other, certificate: '' }, /certificate of anchor 2 is not one/],
  [
    'a certificate cut short',
    { ...other, certificate: other.certificate.slice(0, -4) },
    /certificate of anchor 2/,
  ],
  [
    'a document signer',
    { ...other, certificate: printBase64url(world2.signer.certificateDer) },
    /certificate of anchor 2.+not a CA/,
  ],
  ['authorities as text', { ...other, authorities: '第一' }, /authorities of anchor 2/],
  ['an empty authority', { ...other, authorities: [''] }, /authorities of anchor 2/],
  [
    'an authority that no record can name',
    { ...other, authorities: ['市'.repeat(16)] },
    /authorities of anchor 2/,
  ],
  ['half a character', { ...other, authorities: ['\ud800'] }, /authorities of anchor 2/],
  ['a control character', { ...other, authorities: ['a\u0007'] }, /authorities of anchor 2/],
  ['an authority twice', { ...other, authorities: ['a', 'a'] }, /has one twice/],
  ['65 authorities', { ...other, authorities: Array.from({ length: 65 }, (_, i) => `a${i}`) }, /0 to 64/],
  ['no list', { ...other, lists: [] }, /lists of anchor 2 must be 1 to 4/],
  ['five lists', { ...other, lists: ['1', '2', '3', '4', '5'].map((n) => `${n}.crl`) }, /1 to 4/],
  ...[
    'ftp://a.example/l.crl',
    'file:///etc/l.crl',
    '../l.crl',
    'a/l.crl',
    '/l.crl',
    'l.pem',
    '.crl',
    '',
    7,
  ].map(
    (place) =>
      [`list ${place}`, { ...other, lists: [place] }, /lists of anchor 2/] as [string, unknown, RegExp],
  ),
]

t.test('every list that is not right in every way is refused, with what to do', async (t) => {
  const fails = (name: string, jws: string, reason: string, says: RegExp) => {
    const fault = faultOf(jws)
    t.match(fault, { reason, message: says }, name)
    t.match(fault?.message ?? '', /Fix: /, name)
  }
  for (const [name, jws, reason, says] of refused) fails(name, jws(), reason, says)
  for (const [name, value, says] of wrong) fails(name, signAny(value), 'content', says)
  for (const [name, anchor, says] of wrongAnchors) {
    fails(name, signAny({ ...claims, anchors: [listed(), anchor] }), 'content', says)
  }
  t.comment(`${refused.length + wrong.length + wrongAnchors.length} lists refused`)
})

t.test('what would be refused is not signed', async (t) => {
  for (const [name, value, says] of wrong)
    t.throws(() => signTrustList(value as TrustClaims, privateKey), { message: says }, name)
})

t.test('no truncation and no flipped bit of a list is accepted', async (t) => {
  const jws = signTrustList({ ...claims, anchors: [listed()] }, privateKey)
  for (let length = 0; length < jws.length; length++) {
    if (accepts(jws.slice(0, length))) t.fail(`accepted ${length} of ${jws.length} characters`)
  }
  for (let at = 0; at < jws.length; at++) {
    for (let bit = 0; bit < 7; bit++) {
      const bytes = Buffer.from(jws)
      bytes[at] = bytes.readUInt8(at) ^ (1 << bit)
      if (accepts(bytes.toString('latin1'))) t.fail(`accepted with bit ${bit} of character ${at} flipped`)
    }
  }
  t.ok(accepts(jws), `${jws.length} characters`)
})

function faultOf(jws: string): TrustListError | undefined {
  try {
    openTrustList(jws, publicKey)
    return undefined
  } catch (error) {
    if (error instanceof TrustListError) return error
    throw error
  }
}

const accepts = (jws: string) => faultOf(jws) === undefined

t.test('a list of as many issuers as there may be is read', async (t) => {
  const anchors = Array.from({ length: limits.trustAnchorsMax }, (_, i) =>
    listed({
      certificate: printBase64url(world1.issuerOf(`Test issuer ${i}`).certificateDer),
      lists: [`${i}.crl`],
    }),
  )
  const jws = signTrustList({ ...claims, anchors }, privateKey)
  const begun = performance.now()
  t.equal(openTrustList(jws, publicKey).issuers.length, limits.trustAnchorsMax)
  t.comment(`${jws.length} characters opened in ${Math.round(performance.now() - begun)} ms`)
})

t.test('two keys of one issuer name are two issuers', async (t) => {
  const certificate = printBase64url(world1.issuerOf('Test card issuer').certificateDer)
  const anchors = [listed(), listed({ certificate, lists: ['new.crl'] })]
  const list = openTrustList(signTrustList({ ...claims, anchors }, privateKey), createPublicKey(privateKey))
  t.equal(list.issuers.length, 2)
})

t.test('places are files without a folder, and plain URLs', async (t) => {
  for (const place of ['card-issuer.crl', 'A.CRL', 'a_b-1.2.crl']) t.equal(placeKind(place), 'file', place)
  for (const place of ['https://a.example/l', 'http://127.0.0.1:8080/l.crl', 'https://a.example/l?x=1'])
    t.equal(placeKind(place), 'url', place)
  for (const place of [
    'https://user:secret@a.example/l.crl',
    'https://a.example/l.crl#x',
    'https://A.example/l.crl',
    'javascript:alert(1)',
    'data:,x',
    `https://a.example/${'x'.repeat(512)}`,
    '..crl/../x.crl',
  ]) {
    t.equal(placeKind(place), undefined, place)
  }
})
