// Rows 13-15: the answer for a card that was found right, from the cache or from the bureau
// (PROTOCOL sections 7, 8). It knows nothing of challenges, tokens or the ledger.
import { printBase64url } from '../base/bytes.ts'
import { BureauUnavailable } from '../bureau/client.ts'
import type { CachedAnswer, Slots } from '../cache/answers.ts'
import { answerCode, type Decision, refusalOfResult } from './outcome.ts'
import type { CardOutcome, VerifyRequest } from './pipeline.ts'
import type { Services } from './services.ts'

/** What leaves in the same tick as the guard; undefined where the card was refused. */
export type Preparation =
  | { slots: Slots; cached: Promise<CachedAnswer | undefined>; person: NonNullable<CardOutcome['card']> }
  | undefined

export function prepare(services: Services, request: VerifyRequest, outcome: CardOutcome): Preparation {
  if (!outcome.card) return undefined
  const slots = services.answers.prepare(request.session.carrier, outcome.card)
  const cached = services.answers.read(slots).catch((cause) => {
    services.onStoreLost(cause) // Without a cache the bureau is asked.
    return undefined
  })
  return { slots, cached, person: outcome.card }
}

/** `keep` puts a fresh answer into the cache; called once the answer is recorded and signed. */
export type Kept = Decision & { keep(): void }

/**
 * @param undecided records that a question had left but no answer came; awaited before the error
 * @throws GatewayError bureau_unavailable, or what `undecided` throws
 */
export async function decide(
  services: Services,
  preparation: Preparation,
  undecided: (transaction: Buffer) => Promise<unknown>,
): Promise<Kept> {
  if (!preparation) throw new Error('vouchsafe has a defect: a decision without a card')
  const { slots, person } = preparation
  const cached = await preparation.cached
  if (cached) return { refusal: cached.refusal, transaction: cached.transaction, keep: () => {} }
  try {
    const { result, transaction, position } = await services.ask(slots, {
      docType: person.docType,
      issuingState: person.state,
      number: person.number,
      name: person.name,
      serial: printBase64url(person.serial),
      validTo: person.validTo,
    })
    const refusal = refusalOfResult(result)
    const answer = refusal === 0 ? answerCode.yes : answerCode.no
    const keep = () => services.answers.write(slots, { answer, refusal, position, transaction })
    return { refusal, transaction, keep }
  } catch (error) {
    if (error instanceof BureauUnavailable && error.left) await undecided(error.left)
    throw error
  }
}
