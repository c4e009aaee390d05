// The bureau's wire: the one file that the gateway's client and the mock share (PROTOCOL section 11).
import { type Static, Type } from 'typebox'
import { limits } from '../base/limits.ts'

export const bureauResults = [
  'match',
  'not_found',
  'mismatch',
  'card_not_current',
  'alert',
  'deceased',
] as const
export type BureauResult = (typeof bureauResults)[number]

export const changeKinds = ['card_lost', 'card_stolen', 'card_superseded', 'deceased', 'alert'] as const
export type ChangeKind = (typeof changeKinds)[number]

const object = <T extends Parameters<typeof Type.Object>[0]>(fields: T) =>
  Type.Object(fields, { additionalProperties: false })

/** 16 bytes in canonical base64url: the last character has four spare bits at zero. */
const base64url16 = '^[A-Za-z0-9_-]{21}[AQgw]$'

/** Who is asked about: `serial` base64url of 16 bytes, `validTo` YYYYMMDD. */
const identity = {
  docType: Type.Union([Type.Literal('ID'), Type.Literal('P')]),
  issuingState: Type.String({ minLength: 3, maxLength: 3 }),
  number: Type.String({ minLength: 1, maxLength: 32 }),
  name: Type.String({ minLength: 1, maxLength: 128 }),
  serial: Type.String({ pattern: base64url16 }),
  validTo: Type.String({ pattern: '^[0-9]{8}$' }),
}
export const Question = object(identity)
export type Question = Static<typeof Question>

export const Query = object({
  id: Type.String({ minLength: 1, maxLength: 32 }),
  ...identity,
  transaction: Type.String({ pattern: base64url16 }),
})
export type Query = Static<typeof Query>
export const Queries = Type.Array(Query, { minItems: 1, maxItems: limits.bureauBatchMax })

export const Answered = object({
  id: Type.String(),
  result: Type.Union(bureauResults.map((r) => Type.Literal(r))),
})
export type Answered = { id: string; result: BureauResult }
export const Answers = Type.Array(Answered, { minItems: 1, maxItems: limits.bureauBatchMax })

const position = Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER })

/** News about the person of `number`, the card of `serial`, or both; one that names neither is refused. */
export const FeedChange = object({
  position,
  kind: Type.Union(changeKinds.map((kind) => Type.Literal(kind))),
  docType: identity.docType,
  issuingState: identity.issuingState,
  number: Type.Optional(identity.number),
  serial: Type.Optional(identity.serial),
})
export type FeedChange = {
  position: number
  kind: ChangeKind
  docType: string
  issuingState: string
  number?: string
  serial?: string
}

/** `first` is the oldest position still on offer (head + 1 if none), `head` the newest there is. */
export const FeedPage = object({
  first: position,
  head: position,
  changes: Type.Array(FeedChange, { maxItems: limits.feedPageMax }),
})
export type FeedPage = { first: number; head: number; changes: FeedChange[] }

/** Bounds of a reply: more than a full batch or page can take, with room for white space. */
export const answersBytesMax = 64 * 1024
export const pageBytesMax = 1024 * 1024
