// What the scenarios of the bench are made of, and the tables that it prints. Pure.
import type { AccessParts } from './access-parts.ts'
import type { Primitives } from './primitives.ts'
import { type Kind, type ScenarioName, scenarioOf } from './scenarios.ts'

type Part = 'constant answer' | 'refusal' | keyof Primitives | keyof AccessParts
/** Those that a scenario is made of, with the listener's own: a constant answer to a request as long. */
export type Parts = Partial<Record<Part, number>>

const upToCard: readonly Part[] = ['constant answer', 'token check', 'unseal']
const recorded: readonly Part[] = ['store call', 'ledger entry', 'token signature']
const chip: readonly Part[] = ['chip signature, key import']
const card: readonly Part[] = ['SOD signature', ...chip]
const cardSm2: readonly Part[] = ['SM2 SOD signature', 'SM2 chip signature, key import']

/** The parts of each kind of request. A forged card ends at its security object; who is refused at once costs little. */
const partsOfKind: Partial<Record<Kind, readonly Part[]>> = {
  new: [...upToCard, ...card, ...recorded, 'bureau question'],
  'new-sm2': [...upToCard, ...cardSm2, ...recorded, 'bureau question'],
  known: [...upToCard, ...chip, ...recorded],
  forged: [...upToCard, 'SOD signature', ...recorded],
  expired: [...upToCard, ...card, ...recorded],
  unknown: [...upToCard, ...card, ...recorded, 'bureau question'],
  mismatch: [...upToCard, ...card, ...recorded, 'bureau question'],
  replayed: [...upToCard, ...card, ...recorded, 'bureau question'],
  'revoked-device': ['constant answer', 'token check'],
  token: ['constant answer', 'answer token check'],
  'forged-token': ['constant answer', 'answer token check'],
  login: [
    ...(['constant answer', 'device signature', 'session key'] as const),
    ...(['store call', 'ledger entry', 'device token'] as const),
  ],
}

/** What comes after the question: not where nobody can be answered. */
const afterQuestion: readonly Part[] = ['bureau question', 'ledger entry', 'token signature']

/**
 * How often each part is in a request of a scenario; undefined if one of its kinds has no parts here.
 * @param answered the share that was not refused for being too many
 */
export function partsOf(name: ScenarioName, answered = 1): Map<Part, number> | undefined {
  const { mix, noAnswers } = scenarioOf(name)
  const parts = new Map<Part, number>()
  for (const [kind, share] of Object.entries(mix) as [Kind, number][]) {
    const of = partsOfKind[kind]
    if (!of) return undefined
    for (const part of of) {
      if (!noAnswers || !afterQuestion.includes(part)) {
        parts.set(part, (parts.get(part) ?? 0) + share * answered)
      }
    }
  }
  if (answered < 1) parts.set('refusal', 1 - answered)
  return parts
}

const microsOf = (of: Parts, part: Part) => of[part] ?? Number.NaN

/** Sum of a scenario's parts, CPU microseconds a request. */
export function sumOf(name: ScenarioName, of: Parts, answered = 1): number {
  let sum = 0
  for (const [part, times] of partsOf(name, answered) ?? []) sum += times * microsOf(of, part)
  return sum
}

/** The cost of a scenario beside its parts, as lines. */
export function printParts(name: ScenarioName, cost: number, of: Parts, answered = 1): string[] {
  const row = (what: string, micros: number, note = '') =>
    `  ${what.padEnd(30)} ${micros.toFixed(1).padStart(8)}${note}`
  const rows = [...(partsOf(name, answered) ?? [])].map(([part, times]) =>
    row(
      part,
      times * microsOf(of, part),
      times === 1 ? '' : `   ${times.toFixed(2)} of ${microsOf(of, part).toFixed(1)}`,
    ),
  )
  const sum = sumOf(name, of, answered)
  return [
    `${name}: ${scenarioOf(name).about}`,
    ...rows,
    row('sum of the parts', sum),
    row('measured', cost, `   ${(cost / sum).toFixed(2)} times the sum`),
  ]
}

/**
 * Share of its capacity that a server answers at twice the load, if it refuses the rest and that costs it `rho` of an
 * answer each: of 1 = a + (2 - a) rho.
 */
export const goodputBound = (rho: number) => (1 - 2 * rho) / (1 - rho)
