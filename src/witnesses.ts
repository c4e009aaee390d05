// Checkpoints become public only with the cosignatures of k of n witnesses: each one that we sign goes to all of
// them at once, and the first note with k signatures beside ours is published (PROTOCOL section 9).
import type { KeyObject } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { present } from './base/assert.ts'
import { type Config, ConfigError } from './base/config.ts'
import type { PostText } from './base/http.ts'
import { isSameKey, keyType, parseVkey, printVkey, type Vkey } from './base/vkey.ts'
import { type NoteSignature, parseNote, printNote } from './ledger/note.ts'
import { readConsistency } from './ledger/proof.ts'
import type { LedgerPublishing, SignedCheckpoint } from './ledger/reading.ts'
import { askWitness, type Submission } from './ledger/witness.ts'

export type Witness = { vkey: Vkey; url: string }

/**
 * The witnesses of the configuration.
 * @throws ConfigError if one has the ledger's own key: it would witness itself
 */
export function readWitnesses(config: Pick<Config, 'WITNESSES'>, ledgerKey: KeyObject): Witness[] {
  const own = present(parseVkey(printVkey('ledger', ledgerKey, keyType.cosignature)), 'our own key')
  const witnesses = config.WITNESSES.map(({ vkey, url }) => ({
    vkey: present(parseVkey(vkey), 'a key that was checked'),
    url,
  }))
  const faults = witnesses
    .filter(({ vkey }) => isSameKey(vkey, own))
    .map(
      ({ vkey }) =>
        `WITNESSES (from the environment): the key of ${vkey.name} is the ledger's own, ledger.key of ` +
        'VOUCHSAFE_CERTS. Fix: leave it out; a ledger cannot witness itself.',
    )
  if (faults.length > 0) throw new ConfigError(faults)
  return witnesses
}

export type PublisherOptions = {
  ledger: LedgerPublishing
  witnesses: readonly Witness[]
  quorum: number
  postText: PostText
  /** Told when a witness begins to fail, or fails in another way, and (`undefined`) when it cosigns again. */
  onChange: (witness: string, fault: { reason: string; cause?: unknown } | undefined) => void
}

/** Of one request to a witness, and what it may answer. */
export const witnessLimits = { deadlineMs: 2000, bytesMax: 64 * 1024 } as const
/** After the quorum the others get this long, so that a note has all witnesses that are well. */
const graceMs = 200
/** A checkpoint without its quorum is tried again, whether or not a newer one comes. */
const againMs = 1000

/** Follows the ledger's checkpoints until it is closed. */
export function publishWitnessed(options: PublisherOptions): { close(): Promise<void> } {
  const { ledger, witnesses, quorum } = options
  const asked = witnesses.map((witness) => createAsker(witness, options))
  let round: Promise<void> | undefined
  let closed = false
  /** Size of what was handed over to be shown: that takes a moment, in which nobody need be asked again. */
  let handed = 0

  /** One at a time: what is signed meanwhile is seen at the end, and only the newest of it is asked about. */
  function look(): void {
    if (round || closed) return
    const signed = ledger.signed()
    if (signed.size <= Math.max(handed, ledger.checkpoint().size)) return
    round = publishOne(signed)
      .catch((cause) => options.onChange('ledger', { reason: 'not_published', cause }))
      .then((published) => {
        round = undefined
        if (published === true) look()
      })
  }

  async function publishOne(signed: SignedCheckpoint): Promise<boolean> {
    const cosignatures: NoteSignature[] = []
    const submission = submissionOf(ledger, signed)
    const { promise: enough, resolve } = Promise.withResolvers<void>()
    const all = asked.map(async (ask) => {
      const cosignature = await ask(submission)
      if (cosignature) cosignatures.push(cosignature)
      if (cosignatures.length >= quorum) resolve()
    })
    await Promise.race([Promise.all(all), enough.then(() => sleep(graceMs, undefined, { ref: false }))])
    if (closed || cosignatures.length < quorum) return false
    const { text, signatures } = present(parseNote(signed.note), 'the form of our checkpoint')
    // Dying in here: the witnesses have it and nobody else; the next start asks them again and publishes it.
    ledger.publish(signed.size, printNote({ text, signatures: [...signatures, ...cosignatures] }))
    handed = signed.size
    return true
  }

  const stop = ledger.onCheckpoint(look)
  const timer = setInterval(() => {
    handed = 0 // If it is not shown by now, it was not taken: its taker may have ended.
    look()
  }, againMs).unref()
  look() // What the last process signed and did not publish.
  return {
    async close() {
      closed = true
      clearInterval(timer)
      stop()
      await round
    },
  }
}

function submissionOf(ledger: LedgerPublishing, { size, note }: SignedCheckpoint): Submission {
  const read = ledger.readHashes(size)
  return { note, proveFrom: (oldSize) => readConsistency(oldSize, size, read) }
}

/** Asks one witness, one checkpoint at a time; a fault is told once, and again when it changes. */
function createAsker({ vkey, url }: Witness, { postText, onChange }: PublisherOptions) {
  const post = (body: string) => postText(`${url.replace(/\/$/, '')}/add-checkpoint`, body)
  let knownSize = 0
  let told: string | undefined
  let isBusy = false

  function tell(reason: string | undefined, cause?: unknown): void {
    if (reason === told) return
    told = reason
    onChange(vkey.name, reason === undefined ? undefined : { reason, ...(cause ? { cause } : {}) })
  }

  return async (submission: Submission): Promise<NoteSignature | undefined> => {
    if (isBusy) return undefined // Still with an earlier one, which the others did without it.
    isBusy = true
    try {
      const witnessed = await askWitness({ witness: vkey, post, knownSize }, submission)
      knownSize = witnessed.size
      if ('fault' in witnessed) tell(witnessed.fault)
      else tell(undefined)
      return 'cosignature' in witnessed ? witnessed.cosignature : undefined
    } catch (cause) {
      tell('unreachable', cause)
      return undefined
    } finally {
      isBusy = false
    }
  }
}
