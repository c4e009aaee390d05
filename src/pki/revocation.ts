// A card issuer's revocation list (RFC 5280 section 5): signature checked once when it is loaded, freshness on
// every request.
import { verify } from 'node:crypto'
import {
  certificateTimeMs,
  childrenOf,
  DerError,
  integerBytes,
  readDer,
  smallInteger,
  tags,
  wholeBits,
} from '../base/der.ts'
import { limits } from '../base/limits.ts'
import type { Anchors } from './anchors.ts'
import { algorithmOid, oids } from './certificate.ts'

export type Revocations = {
  /** `thisUpdate <= now + 5 s` and `now <= nextUpdate` (PROTOCOL section 6). */
  isFresh(nowMs: number): boolean
  /** Whether the serial (body of its INTEGER) is listed, whatever the date. */
  has(serial: Buffer): boolean
}

/** Parses a list, DER. Throws an Error if it is malformed or signed by none of the anchors. */
export function parseCrl(der: Buffer, anchors: Anchors): Revocations {
  const [tbs, outer, bits, ...rest] = childrenOf(readDer(der), tags.sequence)
  if (!tbs || rest.length > 0) throw new DerError('list malformed')
  const [version, inner, issuer, thisUpdate, nextUpdate, ...more] = childrenOf(tbs, tags.sequence)
  if (!issuer || smallInteger(version) !== 1) throw new DerError('list is not version 2')
  if (algorithmOid(inner) !== oids.ecdsaSha256 || algorithmOid(outer) !== oids.ecdsaSha256) {
    throw new DerError('list has another algorithm')
  }
  const signature = wholeBits(bits)
  const signed = anchors.some(
    (anchor) => anchor.subject.equals(issuer.raw) && verify('sha256', tbs.raw, anchor.key, signature),
  )
  if (!signed) throw new Error('The revocation list is signed by none of the card issuers that are trusted.')
  const thisMs = certificateTimeMs(thisUpdate)
  const nextMs = certificateTimeMs(nextUpdate)
  const serials = new Set<string>()
  if (more[0]?.tag === tags.sequence) {
    for (const item of childrenOf(more[0], tags.sequence)) {
      serials.add(integerBytes(childrenOf(item, tags.sequence)[0]).toString('hex'))
    }
  }
  return {
    isFresh: (nowMs) => thisMs <= nowMs + limits.clockSkewS * 1000 && nowMs <= nextMs,
    has: (serial) => serials.has(serial.toString('hex')),
  }
}
