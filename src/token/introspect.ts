// Whether an answer token is in force for a carrier (RFC 7662 section 2.2). A token that was found true once is
// remembered by its hash: its signature does not change. Its end and its owner are looked at every time.
import { hash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { NameRows } from '../base/name-rows.ts'
import { carrierAudience, type SignedAnswerClaims } from './claims.ts'

/** What is said of a token, printed, and those of its claims that are looked at each time. */
type Known = Pick<SignedAnswerClaims, 'aud' | 'jti' | 'exp'> & { text: string }

/** Claims of an answer token that we signed, ended or not; undefined for any other text. */
export type ReadAnswer = (token: string) => Promise<SignedAnswerClaims | undefined>

export function createIntrospection(options: {
  readAnswer: ReadAnswer
  clock: Clock
  /** Whether a token (jti, base64url) was revoked since it was made. */
  isRevoked: (jti: string) => boolean
  /** Whether that is known as of now. */
  isNewsFresh: () => boolean
}) {
  const { readAnswer, clock, isRevoked, isNewsFresh } = options
  let known = createKnownTokens()

  async function learn(id: string, token: string): Promise<Known | undefined> {
    const into = known // What is being read while a key goes is not remembered past that.
    const claims = await readAnswer(token)
    if (!claims) return undefined
    const { aud, jti, exp } = claims
    const learnt = { aud, jti, exp, text: printActive(claims) }
    into.set(id, learnt)
    return learnt
  }

  /**
   * A token in force that was made for `carrier`.
   * @throws GatewayError bureau_unavailable while the bureau's news is not fresh
   */
  async function find(token: string, carrier: string): Promise<Known | undefined> {
    const id = hash('sha256', token, 'latin1')
    const found = known.get(id) ?? (await learn(id, token))
    if (!found) return undefined
    const { aud, exp, jti } = found
    if (isRevoked(jti)) return undefined
    if (aud !== carrierAudience(carrier) || exp * 1000 <= clock.now()) return undefined
    // That a token is not in force is sure whatever the news; that it is, is not.
    if (!isNewsFresh()) throw new GatewayError('bureau_unavailable', 'revocations_stale')
    return found
  }

  return {
    /** The claims of a token in force that was made for `carrier`; undefined for anything else. */
    async read(token: string, carrier: string): Promise<SignedAnswerClaims | undefined> {
      const found = await find(token, carrier)
      if (!found) return undefined
      const { active: _, ...claims } = JSON.parse(found.text) as SignedAnswerClaims & { active: true }
      return claims
    },
    /**
     * What is said of a token in force that was made for `carrier`, as JSON; undefined for anything else, not
     * saying why.
     */
    async introspect(token: string, carrier: string): Promise<string | undefined> {
      return (await find(token, carrier))?.text
    },
    /** Forgets every token: a key with which one was signed is no more. */
    forget() {
      known = createKnownTokens()
    },
    /** How many tokens are remembered. */
    size: () => known.size(),
  }
}

/** exp 8, a double | lengths of aud 1, jti 1, text 2 | aud | jti | text */
const at = { exp: 0, aud: 8, jti: 9, text: 10, begin: 12 } as const
/** What is said of our tokens has some 500. */
const rowBytes = 768

/**
 * Tokens that were found true, by their hashes. Bytes, which the collector does not look at: as objects, thousands that
 * live for minutes and are then let go made it mark the whole heap again and again.
 */
function createKnownTokens() {
  const rows = new NameRows({ rowsMax: limits.tokensKnownMax, rowBytes })
  return {
    get(id: string): Known | undefined {
      const row = rows.get(id)
      if (!row) return undefined
      const jtiAt = at.begin + row.readUInt8(at.aud)
      const textAt = jtiAt + row.readUInt8(at.jti)
      return {
        aud: row.toString('latin1', at.begin, jtiAt),
        jti: row.toString('latin1', jtiAt, textAt),
        exp: row.readDoubleBE(at.exp),
        text: row.toString('latin1', textAt, textAt + row.readUInt16BE(at.text)),
      }
    },
    /** What is too long for a row, or not ASCII, is not remembered: ours are neither. */
    set(id: string, { aud, jti, exp, text }: Known): void {
      const all = aud + jti + text
      const fits = at.begin + all.length <= rowBytes && Math.max(aud.length, jti.length) <= 0xff
      if (!fits || Buffer.byteLength(all) !== all.length) return
      const row = rows.set(id)
      row.writeDoubleBE(exp, at.exp)
      row.writeUInt8(aud.length, at.aud)
      row.writeUInt8(jti.length, at.jti)
      row.writeUInt16BE(text.length, at.text)
      row.write(all, at.begin, 'latin1')
    },
    size: () => rows.size,
  }
}

/** The claims that a carrier may see, and no other, whatever a token should come to hold. */
function printActive(claims: SignedAnswerClaims): string {
  const { iss, aud, jti, iat, exp, answer, parcel, device, level, leaf, index } = claims
  return JSON.stringify({ active: true, iss, aud, jti, iat, exp, answer, parcel, device, level, leaf, index })
}

export type Introspection = ReturnType<typeof createIntrospection>
