// Checks receipts offline, with nothing but the keys one trusts: for carriers, and for whoever a receipt is
// shown to. The same check in plain JavaScript for a browser is src/console/check-receipt.js.
import { parseBase64url } from '../base/bytes.ts'
import { parseJson } from '../base/json.ts'
import {
  checkReceipt as checkAlone,
  type Statement,
  type Trust,
  type Untrue,
  type Verdict,
} from '../ledger/receipt.ts'
import { answerClaims } from '../token/claims.ts'

export type { Statement, Trust, Verdict } from '../ledger/receipt.ts'

/** Claims of a token that follow from its entry. */
const claims = ['aud', 'jti', 'iat', 'answer', 'parcel', 'device', 'index', 'leaf'] as const
export type Claim = (typeof claims)[number]

export type ReceiptVerdict =
  | Exclude<Verdict, { state: 'false' } | { state: 'unreadable' }>
  | { state: 'false'; why: Untrue }
  /** The receipt is true, and the token says something else: the first claim that differs. */
  | { state: 'false'; why: 'token'; claim: Claim }
  | { state: 'unreadable'; why: Extract<Verdict, { state: 'unreadable' }>['why'] | 'token' }

/**
 * Checks a receipt and, if one is given, that a token is the one it was made for.
 * @param text - the receipt as a stranger handed it over
 * @param options - `ledger`: vkey of the ledger; `witnesses`: vkeys, of which `quorum` (default 0) must have
 *   signed; `token`: JWT of the answer. Its own signature is not checked: what is true here is the receipt.
 * @throws RangeError if a vkey or the quorum (the checker's own, never the stranger's) is not one
 */
export function checkReceipt(text: string, options: Trust & { token?: string }): ReceiptVerdict {
  const { token, ...trust } = options
  const verdict = checkAlone(text, trust)
  if (verdict.state !== 'true' || token === undefined) return verdict
  const said = readClaims(token)
  if (!said) return { state: 'unreadable', why: 'token' }
  const claim = differingClaim(said, verdict)
  return claim ? { state: 'false', why: 'token', claim } : verdict
}

/** Claims of a JWT that nobody has checked. */
function readClaims(token: string): Record<string, unknown> | undefined {
  const [head, body, signature, ...rest] = token.split('.')
  if (!head || !body || !signature || rest.length > 0) return undefined
  const value = parseJson(parseBase64url(body)?.toString() ?? '')?.value
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
}

function differingClaim(said: Record<string, unknown>, statement: Statement): Claim | undefined {
  // An undecided entry has no token: whatever the token says, this is not its receipt.
  if (statement.answer === 'undecided') return 'answer'
  const right = answerClaims({ ...statement, answer: statement.answer })
  return claims.find((claim) => said[claim] !== right[claim])
}
