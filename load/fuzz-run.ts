// Runs fuzz cases of a seed against everything that can be fuzzed, and counts what they came to.
import fc from 'fast-check'
import { casesOf, makeCardSubjects, type Subject } from './fuzz-cards.ts'
import { makePassportSubjects } from './fuzz-passports.ts'

/** Throws fast-check's report with the smallest case that fails. */
export function fuzz(options: {
  cases: number
  seed: number
  onCase?(done: number, forget: () => void): void
}): Record<string, number> {
  const subjects = [...makeCardSubjects(), ...makePassportSubjects()]
  const seen: Record<string, number> = {}
  const forget = () => {
    for (const subject of subjects) subject.forget()
  }
  let done = 0
  fc.assert(
    fc.property(casesOf(subjects), (given) => {
      const came = (subjects[given.subject] as Subject).run(given)
      seen[came] = (seen[came] ?? 0) + 1
      options.onCase?.(++done, forget)
    }),
    { seed: options.seed, numRuns: options.cases, verbose: true },
  )
  return seen
}
