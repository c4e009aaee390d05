// Whether an answer token is in force for a carrier (RFC 7662 section 2.2). A token that was found true once is
// remembered by its hash: its signature does not change. Its end and its owner are looked at every time.
import { sha256 } from '../base/bytes.ts'
import type { Clock } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'
import { carrierAudience, type SignedAnswerClaims } from './claims.ts'

/** Claims of an answer token that we signed, ended or not; undefined for any other text. */
export type ReadAnswer = (token: string) => Promise<SignedAnswerClaims | undefined>

export function createIntrospection(options: { readAnswer: ReadAnswer; clock: Clock }) {
  const { readAnswer, clock } = options
  const known = new RecentMap<SignedAnswerClaims>(limits.tokensKnownMax)

  async function read(token: string): Promise<SignedAnswerClaims | undefined> {
    const id = sha256(Buffer.from(token)).toString('latin1')
    const standing = known.get(id)
    if (standing) return standing
    const claims = await readAnswer(token)
    if (claims) known.set(id, claims)
    return claims
  }

  return {
    /** The claims of a token in force that was made for `carrier`; undefined for anything else, not saying why. */
    async introspect(token: string, carrier: string): Promise<SignedAnswerClaims | undefined> {
      const claims = await read(token)
      const inForce = claims?.aud === carrierAudience(carrier) && claims.exp * 1000 > clock.now()
      return inForce ? claims : undefined
    },
    /** How many tokens are remembered. */
    size: () => known.size,
  }
}

export type Introspection = ReturnType<typeof createIntrospection>
