// What a verification came to. Refusals are numbers that never leave in clear (PROTOCOL section 7).

export const answerCode = { yes: 1, no: 2, undecided: 3 } as const
export type AnswerWord = 'yes' | 'no'

/** A decision before it is recorded; refusal 0 is a yes. */
export type Decision = { refusal: number; transaction: Buffer }

export const noTransaction = Buffer.alloc(16)

const bureauRefusals = { not_found: 30, mismatch: 31, card_not_current: 32, alert: 33, deceased: 34 } as const

/** R30-R34 by the bureau's word; 0 for a match. */
export const refusalOfResult = (result: 'match' | keyof typeof bureauRefusals): number =>
  result === 'match' ? 0 : bureauRefusals[result]

export const wordOf = (answer: number): AnswerWord => (answer === answerCode.yes ? 'yes' : 'no')
