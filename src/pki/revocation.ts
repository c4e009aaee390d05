// A card issuer's revocation list (RFC 5280 section 5): signature checked once when it is loaded, freshness on
// every request. Only complete lists of the issuer's own certificates are accepted, no delta or indirect ones.
import { sha256 } from '../base/bytes.ts'
import {
  certificateTimeMs,
  childrenOf,
  context,
  type Der,
  DerError,
  fixedChildren,
  integerBytes,
  onlyChild,
  positiveInteger,
  readDer,
  smallInteger,
  tags,
  wholeBits,
} from '../base/der.ts'
import { cursorAt } from '../base/der-cursor.ts'
import { limits } from '../base/limits.ts'
import type { Anchors } from './anchors.ts'
import { algorithmOid, oids, parseExtensions, type ReadAlgorithm } from './certificate.ts'

export type Revocations = {
  /** Unix ms. */
  thisUpdateMs: number
  nextUpdateMs: number
  /** CRLNumber (RFC 5280 section 5.2.3), which every list of an issuer raises; undefined: it has none. */
  number: bigint | undefined
  /** SHA-256 of what is signed, hex: the same list signed twice is one list. */
  content: string
  /** `thisUpdate <= now + 5 s` and `now <= nextUpdate` (PROTOCOL section 6). */
  isFresh(nowMs: number): boolean
  /** Whether the list speaks for certificates of this issuer (name with its head). */
  covers(issuer: Buffer): boolean
  /** Whether the serial (body of its INTEGER) is listed, whatever the date. */
  has(serial: Buffer): boolean
  /** The same, of a serial in hex. */
  hasHex(serial: string): boolean
}

const fix = 'Fix: fetch the current list of the card issuer, DER; see certs/README.md.'

/** Reads a list, DER. Throws an Error with what to do if it is malformed or signed by none of the anchors. */
export function parseCrl(der: Buffer, anchors: Anchors): Revocations {
  return parseSignedList(der, {
    readAlgorithm: algorithmOid,
    isSigned: ({ issuer, algorithm, tbs, signature }) =>
      anchors.some(
        ({ subject, suite, key }) =>
          subject.equals(issuer) && suite.signatureOid === algorithm && key.checkDer(tbs, signature),
      ),
  })
}

/** A list as it was signed; `issuer` is the name with its head. */
export type SignedList = { issuer: Buffer; algorithm: string; tbs: Buffer; signature: Buffer }

type ListRules = {
  readAlgorithm: ReadAlgorithm
  /** Whether one who is trusted signed it. May throw DerError. */
  isSigned(list: SignedList): boolean
}

/** Reads a list whose signature others check, DER. Throws an Error with what to do. */
export function parseSignedList(der: Buffer, rules: ListRules): Revocations {
  try {
    return readList(der, rules)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw new Error(`The card issuer's revocation list is not accepted: ${error.message}. ${fix}`, {
      cause: error,
    })
  }
}

const partsMax = 7 // TBSCertList (RFC 5280 section 5.1).

function readList(der: Buffer, { readAlgorithm, isSigned }: ListRules): Revocations {
  // Bounded: nobody has signed for it yet.
  const [tbs, outer, bits] = fixedChildren(readDer(der), tags.sequence, 3) as [Der, Der, Der]
  const [version, inner, issuer, thisUpdate, nextUpdate, ...more] = childrenOf(tbs, tags.sequence, partsMax)
  if (!inner || !issuer || smallInteger(version) !== 1) throw new DerError('it is not of version 2')
  const algorithm = readAlgorithm(cursorAt(inner))
  if (readAlgorithm(cursorAt(outer)) !== algorithm) throw new DerError('it has two algorithms')
  const signature = wholeBits(bits)
  if (!isSigned({ issuer: issuer.raw, algorithm, tbs: tbs.raw, signature }))
    throw new DerError('it is signed by none of the card issuers that are trusted')
  const thisMs = certificateTimeMs(thisUpdate)
  const nextMs = certificateTimeMs(nextUpdate)
  const { serials, number } = readEntries(more)
  return {
    thisUpdateMs: thisMs,
    nextUpdateMs: nextMs,
    number,
    content: sha256(tbs.raw).toString('hex'),
    isFresh: (nowMs) => thisMs <= nowMs + limits.clockSkewS * 1000 && nowMs <= nextMs,
    covers: (name) => issuer.raw.equals(name),
    has: (serial) => serials.has(serial.toString('hex')),
    hasHex: (serial) => serials.has(serial),
  }
}

/** What follows nextUpdate: the entries, left out if there are none, and the extensions, mandatory in v2. */
function readEntries(parts: Der[]): { serials: ReadonlySet<string>; number: bigint | undefined } {
  const entries = parts.length === 2 ? childrenOf(parts[0] as Der, tags.sequence) : []
  const extensions = parts.at(-1)
  if (!extensions || parts.length > 2) throw new DerError('it is not a list')
  const list = onlyChild(extensions, context(0))
  assertNothingCritical(list)
  const numbered = parseExtensions(cursorAt(list)).get(oids.crlNumber)
  const serials = new Set<string>()
  for (const entry of entries) {
    const [serial, at, more, ...rest] = childrenOf(entry, tags.sequence)
    certificateTimeMs(at)
    if (more) assertNothingCritical(more)
    if (rest.length > 0) throw new DerError('one of its entries is malformed')
    serials.add(integerBytes(serial).toString('hex'))
  }
  return { serials, number: numbered && positiveInteger(readDer(numbered.value)) }
}

/** Delta and partial scope (RFC 5280 sections 5.2.4 and 5.2.5), which an issuer may have forgotten to call critical. */
const partial = new Set(['551d1b', '551d1c'])

/** What is critical changes what a list means: deltas, partial scopes, entries of other issuers. */
function assertNothingCritical(list: Der): void {
  for (const [oid, { critical }] of parseExtensions(cursorAt(list))) {
    if (critical || partial.has(oid))
      throw new DerError('it has a critical extension, so it is not a complete list')
  }
}

/** Why a list must not take the place of the one in use; undefined: it may. Issuers never go back. */
export function rollbackOf(next: Revocations, current: Revocations): string | undefined {
  if (next.thisUpdateMs < current.thisUpdateMs) return 'it is older than the one in use'
  const isSameMoment = next.thisUpdateMs === current.thisUpdateMs && next.number === current.number
  if (isSameMoment && next.content !== current.content)
    return 'it says other than the one of this time and number'
  if (current.number === undefined) return undefined
  if (next.number === undefined) return 'it has no number, and the one in use has'
  return next.number < current.number ? 'its number is lower than that of the one in use' : undefined
}
