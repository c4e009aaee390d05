// From the rates of many rounds to one figure each, and the table of them. It knows no peer by itself.
import type { Rate } from './drive.ts'

/** What is measured: ours, and those who do the same. */
export const subjects = {
  verifyP256: { what: 'verify, new P-256 card', who: 'gateway' },
  twinP256: { what: 'verify, new P-256 card', who: 'naive twin', over: 'verifyP256' },
  verifySm2: { what: 'verify, new SM2 card', who: 'gateway' },
  twinSm2: { what: 'verify, new SM2 card', who: 'naive twin', over: 'verifySm2' },
  constantHttps: { what: 'the same, constant answer', who: 'node:https', over: 'verifyP256' },
  constantFastify: { what: 'the same, constant answer', who: 'Fastify', over: 'verifyP256' },
  constantExpress: { what: 'the same, constant answer', who: 'Express', over: 'verifyP256' },
  session: { what: 'login with a key, and a token', who: 'gateway' },
  credentials: { what: 'login with a key, and a token', who: 'oidc-provider', over: 'session' },
  credentialsInMemory: { what: 'the same', who: 'oidc, in a Map', over: 'session' },
  introspect: { what: 'introspection, new tokens', who: 'gateway' },
  oidcIntrospect: { what: 'introspection, new tokens', who: 'oidc-provider', over: 'introspect' },
  oidcIntrospectInMemory: { what: 'the same', who: 'oidc, in a Map', over: 'introspect' },
  oidcIntrospectTls: { what: 'the same, asker by certificate', who: 'oidc-provider', over: 'introspect' },
  oidcIntrospectTlsInMemory: {
    what: 'the same, asker by certificate',
    who: 'oidc, in a Map',
    over: 'introspect',
  },
} as const satisfies Record<string, { what: string; who: string; over?: string }>

export type Subject = keyof typeof subjects
export type Rates = Partial<Record<Subject, Rate[]>>

export type Figures = {
  /** CPU of a request there to CPU of one here, Redis's counted at both. */
  twinP256: number
  twinSm2: number
  sessionVsOidcProvider: number
  /** Its asker by private_key_jwt, what it issued in Redis. */
  introspectVsOidcProvider: number
  /** Its asker by client certificate. */
  introspectVsOidcTls: number
  /** These three where what it issued is in a Map of its process. */
  sessionVsOidcInMemory: number
  introspectVsOidcInMemory: number
  introspectVsOidcTlsInMemory: number
  /** The first of these by requests a second. */
  introspectThroughput: number
  constantHttpsMicros: number
  constantFastifyMicros: number
  constantExpressMicros: number
  verifyP256Micros: number
  verifySm2Micros: number
  wrong: number
  /** Of so many sent, those that got no answer: above one in a hundred, nothing here counts. */
  unanswered: number
  sent: number
}

export function median(all: readonly number[]): number {
  const sorted = all.toSorted((a, b) => a - b)
  const middle = Math.floor(sorted.length / 2)
  const upper = sorted[middle] ?? 0
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? 0) + upper) / 2
}

const whole = ({ cpuMicros, redisMicros }: Rate) => cpuMicros + redisMicros
const medianOf = (rates: readonly Rate[] | undefined, of: (rate: Rate) => number) =>
  median((rates ?? []).map(of))

/** The median of the rounds' ratios: both of a ratio ran side by side. */
function ratioOf(rates: Rates, [top, below]: [Subject, Subject], of = whole): number {
  const ours = rates[below] ?? []
  const each = (rates[top] ?? []).map((rate, i) => of(rate) / of(ours[i] ?? rate))
  return Math.round(median(each) * 100) / 100
}

export function figuresOf(rates: Rates): Figures {
  const micros = (subject: Subject) => Math.round(medianOf(rates[subject], whole))
  const perSecond = (rate: Rate) => 1 / rate.perSecond
  const all = Object.values(rates).flat()
  const sum = (of: (rate: Rate) => number) => all.reduce((total, rate) => total + of(rate), 0)
  return {
    twinP256: ratioOf(rates, ['twinP256', 'verifyP256']),
    twinSm2: ratioOf(rates, ['twinSm2', 'verifySm2']),
    sessionVsOidcProvider: ratioOf(rates, ['credentials', 'session']),
    introspectVsOidcProvider: ratioOf(rates, ['oidcIntrospect', 'introspect']),
    introspectVsOidcTls: ratioOf(rates, ['oidcIntrospectTls', 'introspect']),
    sessionVsOidcInMemory: ratioOf(rates, ['credentialsInMemory', 'session']),
    introspectVsOidcInMemory: ratioOf(rates, ['oidcIntrospectInMemory', 'introspect']),
    introspectVsOidcTlsInMemory: ratioOf(rates, ['oidcIntrospectTlsInMemory', 'introspect']),
    introspectThroughput: ratioOf(rates, ['oidcIntrospect', 'introspect'], perSecond),
    constantHttpsMicros: micros('constantHttps'),
    constantFastifyMicros: micros('constantFastify'),
    constantExpressMicros: micros('constantExpress'),
    verifyP256Micros: micros('verifyP256'),
    verifySm2Micros: micros('verifySm2'),
    wrong: sum((rate) => rate.wrong),
    unanswered: sum((rate) => rate.unanswered),
    sent: sum((rate) => rate.sent),
  }
}

/** One line each; a ratio above 1 is what a peer uses more than the gateway does. */
export function printTable(rates: Rates): string[] {
  const line = (...[what, who, ...numbers]: string[]) =>
    `${String(what).padEnd(32)}${String(who).padEnd(16)}${numbers.map((text) => text.padStart(12)).join('')}`
  const rows = (Object.keys(subjects) as Subject[]).map((subject) => {
    const { what, who, ...more } = subjects[subject]
    const seen = rates[subject]
    const number = (of: (rate: Rate) => number) => Math.round(medianOf(seen, of)).toString()
    const redis = medianOf(seen, (rate) => rate.redisMicros)
    const ratio = 'over' in more ? ratioOf(rates, [subject, more.over]).toFixed(2) : '1.00'
    const micros = [number((rate) => rate.cpuMicros), redis > 0 ? Math.round(redis).toString() : '-']
    return line(
      what,
      who,
      number((rate) => rate.perSecond),
      ...micros,
      ratio,
    )
  })
  return [line('what', 'who', 'requests/s', 'CPU µs', 'Redis µs', 'to ours'), ...rows]
}

/** Whether the run may be believed: every answer as it must be, and nearly every request answered. */
export const isSound = ({ wrong, unanswered, sent }: Figures): boolean =>
  wrong === 0 && unanswered * 100 <= sent
