// Shapes of every body on the wire, as JSON Schema; what TypeBox cannot say (canonical base64url) is
// checked by `decode` before anything else looks at a field (PROTOCOL section 1).
import { type TSchema, Type } from 'typebox'
import { base64urlLength, parseBase64url } from '../base/bytes.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { sealOverhead } from '../base/seal.ts'

/** Base64url of exactly `bytes` bytes. Not by maxLength: characters of Unicode would be counted one by one. */
export const Binary = (bytes: number, description: string) => {
  const length = base64urlLength(bytes)
  return Type.String({ pattern: `^[A-Za-z0-9_-]{${length}}$`, description })
}

export const object = <T extends Record<string, TSchema>>(fields: T, description?: string) =>
  Type.Object(fields, { additionalProperties: false, ...(description ? { description } : {}) })

const version = Type.Literal(1, { description: 'Version of the protocol' })
const Challenge = Binary(limits.challengeBytes, 'A challenge; the last byte is its index in the batch')

export const sealedBytes = limits.readingBytes + sealOverhead
const sealedPassportBytes = limits.passportReadingBytes + sealOverhead

export const ChallengeRequest = Type.Union([
  object({ purpose: Type.Literal('session'), device: Binary(16, 'Device id') }),
  object({
    purpose: Type.Literal('reading'),
    count: Type.Integer({ minimum: 1, maximum: limits.challengesPerBatchMax }),
  }),
])

export const ChallengeGiven = object({
  challenge: Challenge,
  count: Type.Integer(),
  expiresIn: Type.Integer({ description: 'Seconds' }),
})

export const SessionBody = object({
  v: version,
  device: Binary(16, 'Device id'),
  recipient: Binary(8, 'Recipient id from the directory'),
  enc: Binary(65, 'HPKE encapsulated key, an uncompressed P-256 point'),
  challenge: Challenge,
  firmware: Type.Integer({ minimum: 0, maximum: 0xffffffff }),
  courier: Binary(16, 'Opaque id of the courier, chosen by the carrier; zeros if none'),
  signature: Binary(64, 'By the device key, r||s'),
})

export const SessionGiven = object({
  token: Type.String(),
  carrier: Type.String(),
  expiresIn: Type.Integer({ description: 'Seconds' }),
  challenge: Challenge,
  count: Type.Integer(),
})

const verifyBodyOf = <T extends TSchema>(sealed: T) =>
  object({ v: version, challenge: Challenge, parcel: Binary(32, 'Commitment to the waybill'), sealed })

export const VerifyBody = verifyBodyOf(Binary(sealedBytes, 'The sealed reading'))

const [cardLength, passportLength] = [sealedBytes, sealedPassportBytes].map(base64urlLength)
/** Where passports are on: two sizes and none between, so that a length tells the kind of document and nothing else. */
export const VerifyBodyOfAny = verifyBodyOf(
  Type.String({
    pattern: `^(?:[A-Za-z0-9_-]{${cardLength}}|[A-Za-z0-9_-]{${passportLength}})$`,
    description: 'The sealed reading, of a card or a passport',
  }),
)

export const AnswerGiven = object({
  answer: Type.Union([Type.Literal('yes'), Type.Literal('no')]),
  token: Type.String({ description: 'JWT ES256, typ answer+jwt' }),
})

/** RFC 7517: the token keys. */
export const KeySet = object({
  keys: Type.Array(
    object({
      ...{ kty: Type.String(), crv: Type.String(), x: Type.String(), y: Type.String() },
      ...{ kid: Type.String(), alg: Type.Literal('ES256'), use: Type.Literal('sig') },
    }),
  ),
})

/** `name` is of problemSchemas in plugins/errors.ts: a description has each once. */
const problemsOf = (name: string, statuses: readonly number[]) => {
  const schema = Type.Unsafe({ $ref: `${name}#` })
  return Object.fromEntries(
    statuses.map((status) => [status, { content: { 'application/problem+json': { schema } } }]),
  )
}

/** The problem responses of a route, for its schema. */
export const problems = (...statuses: number[]) => problemsOf('Problem', statuses)

/** As `problems`, each with a sentence for the asker where there is one. */
export const toldProblems = (...statuses: number[]) => problemsOf('ToldProblem', statuses)

/** Decodes named base64url fields of a body; `400 malformed` unless each is canonical. */
export function decode<K extends string>(body: Record<K, unknown>, ...names: K[]): Record<K, Buffer> {
  const out = {} as Record<K, Buffer>
  for (const name of names) {
    const bytes = parseBase64url(String(body[name]))
    if (!bytes) throw new GatewayError('malformed', 'base64url_not_canonical')
    out[name] = bytes
  }
  return out
}
