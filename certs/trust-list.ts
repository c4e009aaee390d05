// The development PKI's signed list of card issuers: made, and made again when its issuers change or half its life is over.
import type { KeyObject, X509Certificate } from 'node:crypto'
import { printBase64url } from '../src/base/bytes.ts'
import { dayMs } from '../src/base/clock.ts'
import { signingOf } from '../src/pki/signing.ts'
import { type ListedAnchor, openTrustList, signTrustList, TrustListError } from '../src/pki/trust-list.ts'

/** A development issuer: its revocation list lies beside it, under its name. */
export type DevIssuer = { name: string; certificate: X509Certificate }

const state = 'CHN'

function describe({ name, certificate }: DevIssuer): ListedAnchor {
  const { id } = signingOf(certificate.publicKey).suite
  return {
    certificate: printBase64url(certificate.raw),
    suite: id,
    state,
    authorities: [],
    lists: [`${name}.crl`],
  }
}

export type Wanted = { issuers: readonly DevIssuer[]; nowMs: number; lifeDays: number }

/**
 * The number of the list that must be made now; undefined if the one that is there is right.
 * @throws TrustListError if the key signed it and it cannot be read
 */
export function nextSeq(jws: string | undefined, key: KeyObject, wanted: Wanted): number | undefined {
  const list = jws === undefined ? undefined : openOwn(jws, key)
  const { issuers, nowMs, lifeDays } = wanted
  // None, or another key's: whatever number a gateway has seen, the time in s is beyond it.
  if (!list) return Math.floor(nowMs / 1000)
  const listed = list.issuers.map(({ anchor, certificate, lists }) => ({
    ...{ certificate: printBase64url(certificate), suite: anchor.suite.id, state: anchor.state },
    ...{ authorities: anchor.authorities, lists },
  }))
  const same = JSON.stringify(listed) === JSON.stringify(issuers.map(describe))
  const inTime = list.issuedMs <= nowMs && list.notAfterMs - nowMs >= (lifeDays * dayMs) / 2
  return same && inTime ? undefined : list.seq + 1
}

function openOwn(jws: string, key: KeyObject) {
  try {
    return openTrustList(jws, key)
  } catch (error) {
    if (error instanceof TrustListError && error.reason === 'signature') return undefined
    throw error
  }
}

export function makeTrustList(seq: number, key: KeyObject, { issuers, nowMs, lifeDays }: Wanted): string {
  const iat = Math.floor(nowMs / 1000)
  const exp = iat + (lifeDays * dayMs) / 1000
  return signTrustList({ seq, iat, exp, anchors: issuers.map(describe) }, key)
}
