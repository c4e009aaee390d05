// What a load run asks, scenario by scenario: which kinds of requests in which shares, how the bureau behaves
// meanwhile, and which answers are right. Pure tables: nothing is sent here.
import { type ErrorCode, errorTable } from '../src/base/errors.ts'

/** What is right for a request: an answer, an introspection (of a token's own claims), a session, or one of these refusals. */
export type Expected =
  | { answer: 'yes' | 'no' }
  | { active: boolean }
  | { session: true }
  | { codes: readonly string[] }

/** A request ready to be sent. `follows` is another of the same challenge, sent just before. */
export type Line = {
  kind: Kind
  path: string
  token: string
  body: string
  expected: Expected
  follows?: true
}

export const kinds = [
  'new', // a person and card never seen
  'new-sm2',
  'known', // a card seen before, its person cached, a fresh chip signature
  'same', // one card and person for all
  'forged',
  'expired',
  'unknown',
  'mismatch',
  'replayed', // the challenge of the request before, sealed anew
  'revoked-device',
  'token', // introspection of an answer token never asked for
  'forged-token',
  'login',
] as const
export type Kind = (typeof kinds)[number]

export type Scenario = {
  about: string
  /** Shares, adding up to 1. */
  mix: Partial<Record<Kind, number>>
  /** Faults of the mocked bureau (src/bureau-mock/faults.ts). */
  bureau?: object
  /** Refusals that are right whatever a request is: the answer could not be had. */
  mayRefuse?: readonly string[]
  /** Whoever gets an answer, gets a wrong one. */
  noAnswers?: true
  /** Sends more than the gateway takes: open loop, so many times its capacity. */
  overload?: number
  /** Needs a set-up that only the bench makes. */
  ofBench?: true
}

export const scenarios = {
  cold: { about: 'every card, signer’s check and person new', mix: { new: 1 } },
  returning: {
    about: 'cards seen before, each with a fresh chip signature; all answers cached',
    mix: { known: 1 },
  },
  cached: {
    about: 'nine of ten answers cached (hit ratio 0.9), one of ten new',
    mix: { known: 0.9, new: 0.1 },
  },
  mixed: {
    about: 'a day’s deck: 2 % forged, 1 % replayed, 1 % from revoked devices',
    mix: {
      new: 0.66,
      'new-sm2': 0.06,
      known: 0.2,
      expired: 0.01,
      unknown: 0.02,
      mismatch: 0.01,
      forged: 0.02,
      replayed: 0.01,
      'revoked-device': 0.01,
    },
  },
  sm2: { about: 'every card new, in the national algorithms', mix: { 'new-sm2': 1 } },
  introspect: {
    about: 'answer tokens over mTLS, each asked for once; 2 % forged',
    mix: { token: 0.98, 'forged-token': 0.02 },
  },
  'session-storm': {
    about: 'handhelds that log in at once, up to 2,000 of them, over connections that stand',
    mix: { login: 1 },
  },
  'slow-bureau': {
    about: 'new people, and a bureau that takes 200 ms at the median and 600 at the 99th percentile',
    mix: { new: 1 },
    bureau: { delayMs: { median: 200, p99: 600 } },
    mayRefuse: ['bureau_unavailable'],
  },
  'bureau-down': {
    about: 'new and known people while the bureau is away: nobody may get an answer',
    mix: { new: 0.5, known: 0.5 },
    bureau: { down: true },
    noAnswers: true,
    mayRefuse: ['bureau_unavailable'],
  },
  overload: {
    about: 'new people at twice the rate that the gateway takes, open loop',
    mix: { new: 1 },
    overload: 2,
    mayRefuse: ['overloaded', 'bureau_unavailable'],
  },
  refusals: {
    ofBench: true,
    about: 'a gateway that answers one request at a time, for IN_FLIGHT_MAX=1: what a refusal costs',
    mix: { new: 1 },
    bureau: { silent: true },
    mayRefuse: ['overloaded', 'bureau_unavailable'],
  },
  'same-person': {
    ofBench: true,
    about: 'everybody asks about one person, never seen before',
    mix: { same: 1 },
  },
} satisfies Record<string, Scenario>

export type ScenarioName = keyof typeof scenarios
export const scenarioNames = Object.keys(scenarios) as ScenarioName[]
export const scenarioOf = (name: ScenarioName): Scenario => scenarios[name]

/** The kind of request number `i`: shares are met within one over any stretch, and each run deals alike. */
export function kindOf(mix: Scenario['mix'], i: number): Kind {
  const golden = 0.618033988749895
  const at = (i * golden) % 1
  let sum = 0
  let last: Kind = 'new'
  for (const [kind, share] of Object.entries(mix) as [Kind, number][]) {
    sum += share
    last = kind
    if (at < sum) return kind
  }
  return last
}

/** What came back for a request. `micros` counts from when it was meant to be sent (open loop) or was sent. */
export type Reply = { line: number; status: number; micros: number; body: string }

/**
 * `refused`: as the scenario means it to be; `unanswered`: no reply, or a refusal that says only that none could be had
 * just then.
 */
export type Judged = 'right' | 'wrong' | 'refused' | 'unanswered'

/** Whoever gets one may ask again; all other refusals say something of the request, and are right or wrong. */
const passing: readonly string[] = [
  'overloaded',
  'bureau_unavailable',
  'ledger_unavailable',
  'in_progress',
] satisfies ErrorCode[]

/** An answer that must not be had is wrong, and so is a refusal that is not true of the request. */
export function judgeReply(line: Line, reply: Reply | undefined, scenario: Scenario): Judged {
  if (!reply || reply.status === 0) return 'unanswered'
  const body = parseObject(reply.body)
  if (!body) return 'wrong'
  if ('code' in body) return judgeRefusal(line, { ...reply, body }, scenario)
  if (scenario.noAnswers || reply.status !== 200) return 'wrong'
  return isAnswerOf(line, body) ? 'right' : 'wrong'
}

function judgeRefusal(
  { expected }: Line,
  { status, body }: { status: number; body: Record<string, unknown> },
  scenario: Scenario,
): Judged {
  const code = String(body['code'])
  const isOne = Object.hasOwn(errorTable, code) && errorTable[code as ErrorCode].status === status
  if (!isOne || ['answer', 'active', 'token'].some((word) => word in body)) return 'wrong'
  if ('codes' in expected && expected.codes.includes(code)) return 'right'
  if (scenario.mayRefuse?.includes(code)) return 'refused'
  return passing.includes(code) ? 'unanswered' : 'wrong'
}

function isAnswerOf({ expected, body: asked }: Line, body: Record<string, unknown>): boolean {
  if ('answer' in expected) return body['answer'] === expected.answer
  if ('session' in expected) return typeof body['token'] === 'string' && body['token'].split('.').length === 3
  if (!('active' in expected) || body['active'] !== expected.active) return false
  if (!expected.active) return Object.keys(body).length === 1
  const claims = claimsIn(new URLSearchParams(asked).get('token') ?? '')
  return claims !== undefined && Object.entries(claims).every(([name, value]) => body[name] === value)
}

/** What a token says, unchecked; undefined if it is none. */
const claimsIn = (token: string): Record<string, unknown> | undefined =>
  parseObject(Buffer.from(token.split('.')[1] ?? '', 'base64url').toString())

export function parseObject(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined
  } catch {
    return undefined
  }
}
