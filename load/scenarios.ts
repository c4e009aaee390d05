// What a load run asks, scenario by scenario: which kinds of requests in which shares, how the bureau behaves
// meanwhile, and which answers are right. Pure tables: nothing is sent here.

/** What is right for a request: an answer, an introspection, a session, or one of these refusals. */
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
  'session-storm': { about: 'handhelds that log in, all at once', mix: { login: 1 } },
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
    about: 'a gateway that answers one request at a time, for IN_FLIGHT_MAX=1: what a refusal costs',
    mix: { new: 1 },
    bureau: { silent: true },
    mayRefuse: ['overloaded', 'bureau_unavailable'],
  },
  'same-person': {
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

export type Judged = 'right' | 'wrong' | 'unanswered'

/** An answer that must not be had is wrong; a refusal in its place is only unanswered, unless it is what is right. */
export function judgeReply(line: Line, reply: Reply | undefined, scenario: Scenario): Judged {
  if (!reply || reply.status === 0) return 'unanswered'
  const body = parse(reply.body)
  if (!body) return 'wrong'
  const { expected } = line
  const code = typeof body['code'] === 'string' ? body['code'] : undefined
  if (code !== undefined) {
    if ('codes' in expected && expected.codes.includes(code)) return 'right'
    return scenario.mayRefuse?.includes(code) ? 'right' : 'unanswered'
  }
  if (scenario.noAnswers) return 'wrong'
  if ('answer' in expected) return body['answer'] === expected.answer ? 'right' : 'wrong'
  if ('active' in expected) return body['active'] === expected.active ? 'right' : 'wrong'
  if ('session' in expected) return typeof body['token'] === 'string' ? 'right' : 'wrong'
  return 'wrong'
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>
  } catch {
    return undefined
  }
}
