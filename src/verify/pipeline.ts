// The product on one screen: rows 3-17 of the order of checks (PROTOCOL section 7). Rows 1 and 2 are HTTP's.
// Cheap before dear; nothing secret is touched before the sender is known; no answer before its record.
import { sha256 } from '../base/bytes.ts'
import { createCohort } from '../base/cohort.ts'
import { GatewayError } from '../base/errors.ts'
import { limits } from '../base/limits.ts'
import { parseReading, type Reading } from '../card/reading.ts'
import type { ChipVerifier, Person, VerifiedCard } from '../card/verdict.ts'
import { purpose } from '../channel/challenge.ts'
import { openReading, requestDigest } from '../channel/sealing.ts'
import { createSessionKeys } from '../channel/session.ts'
import { deriveJti } from '../ledger/entry.ts'
import { answerClaims, type DeviceSession } from '../token/claims.ts'
import { assertAdmitted } from './admission.ts'
import { markCanary } from './canary.ts'
import { withinRequest } from './deadline.ts'
import { decide, type Preparation, prepare } from './decision.ts'
import { assertChallenge } from './freshness.ts'
import { holdMs, recordAt, releaseAt } from './hold.ts'
import { createMisuse } from './misuse.ts'
import { type Consumed, Once, type Outcome } from './once.ts'
import { type AnswerWord, answerCode, noTransaction, wordOf } from './outcome.ts'
import type { Services, VerifyEntry } from './services.ts'

/** A verify request after rows 1 and 2: shapes are right, the device token was checked. */
export type VerifyRequest = {
  session: DeviceSession
  challenge: Buffer
  parcel: Buffer
  sealed: Buffer
  /** Monotonic ms at which the last body byte was read. */
  arrivedAt: number
}

export type Given = { answer: AnswerWord; token: string }

/** What the card came to: refusal 0 with the card, or a refusal, with the person where the chip was right. */
export type CardOutcome = { refusal: number; card?: VerifiedCard; person?: Person; canary?: true }

const personOf = (outcome: CardOutcome): Person | undefined => outcome.card ?? outcome.person

/** A request on its way, after row 6. */
export type Opened = VerifyRequest & { digest: Buffer; expiresMs: number; guardUntilMs: number }

export function createVerifier(services: Services) {
  const once = new Once<Given>({
    store: services.store,
    find: (challenge) => services.ledger.find(challenge),
    clock: services.clock,
    onStoreLost: services.onStoreLost,
  })
  const misuse = createMisuse(services)
  const sessionKeyOf = createSessionKeys()
  const inCohort = createCohort(limits.cohortPaceMs)

  /** Rows 5-17. */
  async function go(request: VerifyRequest, leave: () => void): Promise<Outcome<Given>> {
    const { device, sid } = request.session
    const challenge = await assertChallenge(services, { ...request, device, use: purpose.reading }) // row 5
    const { reading, verifier } = await unseal(services, sessionKeyOf, request) // row 6
    const card = await checkCard(services, request, { reading, verifier }) // rows 7-12: never return
    const digest = requestDigest({ ...request, device, sid }, request.sealed)
    const opened: Opened = { ...request, ...challenge, digest }
    const replayOnly = challenge.state === 'replay_only'
    return once.run<Preparation>(
      { challenge: request.challenge, digest, guardUntilMs: challenge.guardUntilMs, replayOnly }, // row 13
      {
        prefetch: () => prepare(services, opened, card),
        run: async (preparation) => {
          const given = await answer(services, opened, { card, preparation, leave })
          void misuse.note({ device, refused: given.answer === 'no', person: personOf(card) })
          return given
        },
        again: (consumed) => give(services, opened, consumed),
      },
    )
  }

  return async function verify(request: VerifyRequest): Promise<Outcome<Given>> {
    await assertAdmitted(services, request.session) // row 3
    services.takeRate(request.session) // row 4
    return inCohort((leave) => go(request, leave))
  }
}

type SessionKeys = ReturnType<typeof createSessionKeys>
type Unsealed = { reading: Reading; verifier: ChipVerifier }

/** Row 6: the session key from the device token, the seal, then the reading's shape. */
async function unseal(
  services: Services,
  sessionKeyOf: SessionKeys,
  request: VerifyRequest,
): Promise<Unsealed> {
  const { session, challenge, parcel } = request
  const { device, sid, carrier } = session
  const wrap = await services.wrapKey(session.expS)
  const key = wrap && sessionKeyOf(wrap, session)
  if (!key) throw new GatewayError('session_invalid', 'session_key_not_opened')
  const plain = openReading(key, request.sealed, { device, sid, challenge, parcel, carrier })
  if (!plain) throw new GatewayError('seal_rejected', 'seal_rejected')
  const reading = parseReading(plain)
  if (!reading) throw new GatewayError('reading_malformed', 'reading_malformed')
  const verifier = services.verifiers.get(reading.suite)
  if (!verifier) throw new GatewayError('reading_malformed', 'suite_not_enabled')
  return { reading, verifier }
}

async function checkCard(
  services: Services,
  request: VerifyRequest,
  { reading, verifier }: Unsealed,
): Promise<CardOutcome> {
  const { challenge, parcel, session } = request
  const context = { challenge, parcel, device: session.device, carrier: session.carrier }
  const outcome = await verifier(reading, { context, nowMs: services.clock.now() })
  return markCanary(services.canaries, outcome)
}

/**
 * Row 4 for what lasts. A quota ends new answers: what was given is given again, also where no guard tells of it, and
 * a canary is told of whoever's quota it is.
 * @throws GatewayError quota_used_up
 */
async function withinQuota(
  services: Services,
  opened: Opened,
  card: CardOutcome,
): Promise<Given | undefined> {
  try {
    if (!card.canary) await services.assertQuota(opened.session.carrier)
    return undefined
  } catch (error) {
    const standing = await services.ledger.find(opened.challenge)
    if (!standing?.digest.equals(opened.digest)) throw error
    return give(services, opened, standing)
  }
}

/** Rows 13-17 for a request that is the first with its challenge. It leaves its cohort before it is held. */
async function answer(
  services: Services,
  opened: Opened,
  found: { card: CardOutcome; preparation: Preparation; leave: () => void },
): Promise<Given> {
  const { card, preparation, leave } = found
  const answered = await withinQuota(services, opened, card)
  if (answered) return answered
  const undecided = (transaction: Buffer) =>
    record(services, opened, { type: 'undecided', card, refusal: 0, transaction })
  const decision = card.refusal
    ? { refusal: card.refusal, transaction: noTransaction, keep: () => {} }
    : await decide(services, preparation, undecided) // rows 13-15
  const hold = holdMs(services.bureauDelayP999Ms())
  // The token names the entry's index and time: a no that was quickly known may not be recorded sooner.
  if (decision.refusal) {
    leave()
    await sleepUntil(services, recordAt(opened.arrivedAt, services.clock.mono(), hold))
  }
  const consumed = await commit(services, opened, { type: 'verify', card, ...decision })
  const given = await give(services, opened, consumed) // row 17
  decision.keep()
  if (given.answer === 'no') {
    // Row 17: a no waits for its place on the grid, and for the asker to be still admitted then.
    await sleepUntil(services, releaseAt(opened.arrivedAt, services.clock.mono(), hold))
    await assertAdmitted(services, opened.session)
  }
  return given
}

type Recorded = { type: VerifyEntry['type']; card: CardOutcome; refusal: number; transaction: Buffer }

/** Row 3 again, just before row 16. Whatever comes of them, a canary is told of: before its no is released. */
async function commit(services: Services, opened: Opened, what: Recorded): Promise<Consumed> {
  const { device } = opened.session
  let found: { index: number } | undefined
  try {
    await assertAdmitted(services, opened.session)
    const consumed = await record(services, opened, what)
    found = { index: consumed.index }
    return consumed
  } finally {
    if (what.card.canary) services.alert({ kind: 'canary', device, ...found })
  }
}

/** Row 16: nothing is told before this entry is durable. The winner's answer where another came first. */
async function record(services: Services, opened: Opened, what: Recorded): Promise<Consumed> {
  const { session, challenge, parcel, digest, expiresMs } = opened
  const person = personOf(what.card)
  const decided = what.refusal === 0 ? answerCode.yes : answerCode.no
  const answer = what.type === 'undecided' ? answerCode.undecided : decided
  const entry: VerifyEntry = {
    type: what.type,
    digest,
    challenge,
    expiresMs,
    answer,
    carrier: session.carrier,
    outlet: session.outlet,
    device: session.device,
    courier: session.courier,
    parcel,
    sealedHash: sha256(opened.sealed),
    refusal: what.refusal,
    transaction: what.transaction,
    subject: person && {
      docType: person.docType,
      state: person.state,
      number: person.number,
      serial: person.serial,
    },
  }
  const appended = await withinRequest(services.clock, opened.arrivedAt, services.ledger.append(entry))
  if (!('lost' in appended)) return { ...appended, digest, answer }
  if (!appended.lost.equals(digest)) throw new GatewayError('challenge_used', 'consumed')
  const winner = await services.ledger.find(challenge)
  if (!winner) throw new GatewayError('ledger_unavailable', 'winner_not_found')
  return winner
}

/** The answer and its token, made from the entry alone, so that any node makes the same again. */
async function give(services: Services, opened: Opened, consumed: Consumed): Promise<Given> {
  const { session, parcel, digest } = opened
  const answer = wordOf(consumed.answer)
  const { index, leaf, timeMs } = consumed
  const jti = deriveJti(digest)
  const { carrier, device } = session
  const claims = answerClaims({ answer, carrier, device, parcel, jti, leaf, index, timeMs })
  return { answer, token: await services.signAnswer(claims) }
}

const sleepUntil = (services: Services, at: number) => services.sleep(Math.max(0, at - services.clock.mono()))
