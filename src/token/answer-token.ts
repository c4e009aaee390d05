// An answer token as text (JWT, RFC 7519; ES256 of RFC 7518): its parts, and whether a key signed it. Whose key it
// must be and whether it is in force are its readers' questions.
import { type KeyObject, verify } from 'node:crypto'
import { parseBase64url } from '../base/bytes.ts'
import { parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'
import type { SignedAnswerClaims } from './claims.ts'

/** A token of the right form; nothing in it is believed before its signature is checked. */
export type UnverifiedToken = { kid: string; signed: Buffer; signature: Buffer; body: string }

const signatureBytes = 64

function objectOf(text: string): Record<string, unknown> | undefined {
  const value = parseJson(text)?.value
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
}

/** Kids by the header that names them: every token of a key begins with the same bytes. */
const kids = new RecentMap<string>(16)

/** The kid of a header that is one of ours in form; undefined for any other. */
function kidOf(head: string): string | undefined {
  const known = kids.get(head)
  if (known !== undefined) return known
  const header = objectOf(parseBase64url(head)?.toString() ?? '')
  const kid = header?.['kid']
  if (header?.['alg'] !== 'ES256' || header['typ'] !== 'answer+jwt' || typeof kid !== 'string')
    return undefined
  kids.set(head, kid)
  return kid
}

/**
 * Takes a token apart; undefined unless it has the form that ours have. Of its base64url only the signature's is held
 * to the one canonical form here: the other two parts are signed as they are written.
 */
export function parseToken(token: string): UnverifiedToken | undefined {
  const parts = token.length <= limits.tokenCharsMax ? token.split('.') : []
  const [head = '', second = '', third = ''] = parts
  if (parts.length !== 3) return undefined
  const signature = parseBase64url(third, signatureBytes)
  const kid = kidOf(head)
  if (!signature || kid === undefined) return undefined
  return {
    kid,
    signature,
    body: second,
    signed: Buffer.from(token.slice(0, head.length + 1 + second.length)),
  }
}

/** The claims of a token whose signature was checked: they are as the gateway printed them. */
export const claimsOf = ({ body }: UnverifiedToken) =>
  JSON.parse(Buffer.from(body, 'base64url').toString()) as SignedAnswerClaims

const es256 = (key: KeyObject) => ({ key, dsaEncoding: 'ieee-p1363' }) as const

/** Whether `key`, on P-256, signed the token. */
export const isSignedBy = (key: KeyObject, { signed, signature }: UnverifiedToken): boolean =>
  verify('sha256', signed, es256(key), signature)
