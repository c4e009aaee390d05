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

const object = <T extends Parameters<typeof Type.Object>[0]>(fields: T) =>
  Type.Object(fields, { additionalProperties: false })

/** Who is asked about: `serial` base64url of 16 bytes, `validTo` YYYYMMDD. */
const identity = {
  docType: Type.Union([Type.Literal('ID'), Type.Literal('P')]),
  issuingState: Type.String({ minLength: 3, maxLength: 3 }),
  number: Type.String({ minLength: 1, maxLength: 32 }),
  name: Type.String({ minLength: 1, maxLength: 128 }),
  serial: Type.String({ minLength: 22, maxLength: 22 }),
  validTo: Type.String({ pattern: '^[0-9]{8}$' }),
}
export const Question = object(identity)
export type Question = Static<typeof Question>

export const Query = object({
  id: Type.String(),
  ...identity,
  transaction: Type.String({ minLength: 22, maxLength: 22 }),
})
export type Query = Static<typeof Query>
export const Queries = Type.Array(Query, { minItems: 1, maxItems: limits.bureauBatchMax })

export const Answered = object({
  id: Type.String(),
  result: Type.Union(bureauResults.map((r) => Type.Literal(r))),
})
export type Answered = { id: string; result: BureauResult }

export type FeedChange = {
  position: number
  kind: (typeof changeKinds)[number]
  docType: string
  issuingState: string
  number?: string
  serial?: string
}
export type FeedPage = { first: number; head: number; changes: FeedChange[] }
