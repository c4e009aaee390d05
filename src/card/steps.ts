// How rows 7-12 run, whatever the document: named steps in their order, the first that fails sets the refusal.
import { DerError } from '../base/der.ts'
import type { TakeTurn } from '../base/turns.ts'
import type { CardVerdict, Person, VerifiedCard } from './verdict.ts'

/** What the steps work on, and what they find of the person. */
export type Checked = { person?: Person }

/** Each step returns 0 or its refusal; a DER error in it is the refusal beside it. */
export type Step<C extends Checked> = {
  row: number
  run(check: C): number
  malformed: number
  /** Left out where the memo knows the security object. */
  once?: true
  /** Checks a signature, most of the time that a document takes. */
  slow?: true
}

/** @throws GatewayError where it cannot be decided */
export function runSteps<C extends Checked>(steps: readonly Step<C>[], check: C): CardVerdict {
  for (const step of steps) {
    const found = runStep(step, check)
    if (found !== 0) return refused(check, found)
  }
  return { refusal: 0, card: check.person as VerifiedCard }
}

type InTurns = {
  takeTurn: TakeTurn
  /** Whether what was trusted at the start still is. */
  isCurrent(): boolean
  again(): CardVerdict | Promise<CardVerdict>
}

/**
 * The same, with others' work between its signatures. Waiting takes time: what was found right under a trust that has
 * changed since is looked at again under the new one, so that a revocation bites whoever waits.
 */
export async function runStepsInTurns<C extends Checked>(
  steps: readonly Step<C>[],
  check: C,
  { takeTurn, isCurrent, again }: InTurns,
): Promise<CardVerdict> {
  for (const step of steps) {
    if (step.slow) await takeTurn()
    const found = runStep(step, check)
    if (found !== 0) return refused(check, found)
  }
  return isCurrent() ? { refusal: 0, card: check.person as VerifiedCard } : again()
}

const refused = ({ person }: Checked, found: number): CardVerdict => ({
  refusal: found,
  ...(person ? { person } : {}),
})

function runStep<C extends Checked>(step: Step<C>, check: C): number {
  try {
    return step.run(check)
  } catch (error) {
    if (error instanceof DerError) return step.malformed
    throw error
  }
}
