// The card issuers that a gateway trusts, as one signed text: a compact JWS (RFC 7515) by a key of its own that is kept
// offline (docs/TRUST.md). It knows no clock and no file: whether a list is in time and newer is the caller's next question.
import { type KeyObject, sign, verify } from 'node:crypto'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { DerError } from '../base/der.ts'
import { parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { type CardAnchor, loadAnchor } from './anchors.ts'
import { suiteById } from './suites.ts'

/** What a list says of an issuer. `certificate` is DER in base64url, `lists` where its revocation list is to be had. */
export type ListedAnchor = {
  certificate: string
  suite: number
  state: string
  authorities: readonly string[]
  lists: readonly string[]
}

/** Claims of a list; times in s. */
export type TrustClaims = { seq: number; iat: number; exp: number; anchors: readonly ListedAnchor[] }

/** An issuer of a list: what it is trusted for, and where its revocation list is to be had. */
export type TrustedIssuer = { anchor: CardAnchor; certificate: Buffer; lists: readonly string[] }

/** A list that the pinned key signed, checked whole. Times in Unix ms. */
export type TrustList = {
  seq: number
  issuedMs: number
  notAfterMs: number
  issuers: readonly TrustedIssuer[]
  /** The text as it was signed. */
  jws: string
}

/** A list that is not accepted. `signature`: it is none of the key's, whatever it says. */
export class TrustListError extends Error {
  readonly reason: 'signature' | 'content'
  constructor(reason: 'signature' | 'content', message: string, cause?: unknown) {
    super(message, { cause })
    this.reason = reason
  }
}

const header = printBase64url(Buffer.from(JSON.stringify({ alg: 'EdDSA', typ: 'card-trust+jwt' })))
const signatureBytes = 64
const fix = 'Fix: sign it again with "vouchsafe trust sign"; see docs/TRUST.md.'

/**
 * Signs a list, once it was seen to be one that is accepted.
 * @param key the private Ed25519 key
 * @throws TrustListError saying which issuer is wrong, why, and what to do
 */
export function signTrustList(claims: TrustClaims, key: KeyObject): string {
  readClaims(claims)
  const signed = `${header}.${printBase64url(Buffer.from(JSON.stringify(claims)))}`
  const jws = `${signed}.${printBase64url(sign(null, Buffer.from(signed), key))}`
  assertSize(jws)
  return jws
}

/**
 * Opens a list. Nothing in it is read before the signature is found right.
 * @param key the pinned public key, Ed25519
 * @throws TrustListError
 */
export function openTrustList(jws: string, key: KeyObject): TrustList {
  assertSize(jws)
  const [head, body, signature, ...rest] = jws.split('.')
  // One header and no other: neither another algorithm nor another kind of token is ever looked into.
  if (head !== header || !body || !signature || rest.length > 0) {
    throw new TrustListError('content', `The card trust list is not a list of this kind. ${fix}`)
  }
  const bytes = parseBase64url(signature, signatureBytes)
  const payload = parseBase64url(body)
  if (!bytes || !payload || !verify(null, Buffer.from(`${head}.${body}`), key, bytes)) {
    throw new TrustListError(
      'signature',
      'The card trust list was not signed by the key of card-trust.pub, or was changed since. ' +
        'Fix: put the list that this key signed there; see docs/TRUST.md.',
    )
  }
  const text = payload.toString()
  const parsed = Buffer.from(text).equals(payload) ? parseJson(text) : undefined
  if (!parsed) throw new TrustListError('content', `The card trust list holds no JSON. ${fix}`)
  return { ...readClaims(parsed.value), jws }
}

function assertSize(jws: string): void {
  if (jws.length <= limits.trustListCharsMax) return
  throw new TrustListError(
    'content',
    `The card trust list has more than ${limits.trustListCharsMax} characters. Fix: trust fewer issuers.`,
  )
}

function refuse(what: string, cause?: unknown): never {
  throw new TrustListError('content', `The card trust list is not accepted: ${what}. ${fix}`, cause)
}

/** A plain object with exactly these members. */
function readObject<K extends string>(
  value: unknown,
  members: readonly K[],
  what: string,
): Record<K, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) refuse(`${what} is no object`)
  const names = Object.keys(value)
  const odd = names.length !== members.length || members.some((name) => !Object.hasOwn(value, name))
  if (odd) refuse(`${what} must have exactly ${members.join(', ')}`)
  return value as Record<K, unknown>
}

const isTime = (value: unknown): value is number =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value < 1e11

function readClaims(unverified: unknown): Omit<TrustList, 'jws'> {
  const { seq, iat, exp, anchors } = readObject(unverified, ['seq', 'iat', 'exp', 'anchors'], 'it')
  if (typeof seq !== 'number' || !Number.isSafeInteger(seq) || seq < 1) refuse('seq is no positive number')
  if (!isTime(iat) || !isTime(exp) || exp <= iat) refuse('iat and exp are not two times in order')
  const lifeS = exp - iat
  if (lifeS > limits.trustLifeS) refuse(`it is to hold for more than ${limits.trustLifeS / 86_400} days`)
  if (!Array.isArray(anchors) || anchors.length === 0) refuse('anchors is empty')
  if (anchors.length > limits.trustAnchorsMax) refuse(`it has more than ${limits.trustAnchorsMax} anchors`)
  const issuers = anchors.map((anchor, i) => readIssuer(anchor, `anchor ${i + 1}`))
  assertDistinct(issuers)
  return { seq, issuedMs: iat * 1000, notAfterMs: exp * 1000, issuers }
}

/** By name and key together: an issuer that changes its key keeps its name for a while. */
export const issuerNameOf = ({ anchor }: Pick<TrustedIssuer, 'anchor'>): string =>
  `${anchor.suite.id} ${anchor.subject.toString('base64url')} ${anchor.spki.toString('base64url')}`

/** Each issuer once, and each place once: a list of revocations is one issuer's. */
function assertDistinct(issuers: readonly TrustedIssuer[]): void {
  const seen = new Map<string, number>()
  for (const [i, issuer] of issuers.entries()) {
    const known = seen.get(issuerNameOf(issuer))
    if (known !== undefined) refuse(`anchor ${i + 1} is the issuer of anchor ${known} once more`)
    const other = issuer.lists.map((place) => seen.get(place)).find((at) => at !== undefined)
    if (other !== undefined) refuse(`lists of anchor ${i + 1} has a place of anchor ${other}`)
    for (const name of [issuerNameOf(issuer), ...issuer.lists]) seen.set(name, i + 1)
  }
}

const statePattern = /^[A-Z]{3}$/ // ISO 3166-1 alpha-3.

function readIssuer(unverified: unknown, what: string): TrustedIssuer {
  const names = ['certificate', 'suite', 'state', 'authorities', 'lists'] as const
  const { certificate, suite: id, state, authorities, lists } = readObject(unverified, names, what)
  const suite = typeof id === 'number' ? suiteById(id) : undefined
  if (!suite) refuse(`suite of ${what} is neither 1 (P-256) nor 2 (SM2)`)
  if (typeof state !== 'string' || !statePattern.test(state)) {
    refuse(`state of ${what} is not three capital letters, such as CHN`)
  }
  const der = typeof certificate === 'string' ? parseBase64url(certificate) : undefined
  if (!der) refuse(`certificate of ${what} is not base64url`)
  const scope = {
    state,
    authorities: readTexts(authorities, `authorities of ${what}`, [0, limits.trustAuthoritiesMax]),
  }
  if (!scope.authorities.every(isAuthority)) {
    refuse(`authorities of ${what} must each be of 1 to ${limits.authorityCharsMax} characters`)
  }
  const places = readTexts(lists, `lists of ${what}`, [1, limits.trustListPlacesMax])
  if (!places.every((place) => placeKind(place))) {
    refuse(`lists of ${what} must each be an https: or http: URL, or a file name that ends in .crl`)
  }
  try {
    return { anchor: { ...loadAnchor(der, suite), ...scope }, certificate: der, lists: places }
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    return refuse(`certificate of ${what} is not one of a card issuer: ${error.message}`, error)
  }
}

function readTexts(value: unknown, what: string, [min, max]: [number, number]): string[] {
  const texts = Array.isArray(value) ? (value as unknown[]) : []
  const good = Array.isArray(value) && texts.every((text) => typeof text === 'string')
  if (!good || texts.length < min || texts.length > max) refuse(`${what} must be ${min} to ${max} texts`)
  if (new Set(texts).size !== texts.length) refuse(`${what} has one twice`)
  return texts as string[]
}

const isAuthority = (text: string) =>
  text.length >= 1 && text.length <= limits.authorityCharsMax && text.isWellFormed() && !/\p{Cc}/u.test(text)

const filePattern = /^[a-z0-9][a-z0-9._-]{0,98}\.crl$/i

/** What a place of a revocation list is; undefined: nothing of these. A file has no folder in its name. */
export function placeKind(place: string): 'file' | 'url' | undefined {
  if (filePattern.test(place)) return 'file'
  if (place.length > limits.trustPlaceCharsMax || !URL.canParse(place)) return undefined
  const { protocol, username, password, hash, href } = new URL(place)
  const plain = username === '' && password === '' && hash === '' && href === place
  return plain && (protocol === 'https:' || protocol === 'http:') ? 'url' : undefined
}
