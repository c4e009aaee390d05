// Asks a witness to cosign a checkpoint (c2sp.org/tlog-witness, add-checkpoint): what is said and what is
// believed of the answer. How it is sent is passed in, and which checkpoint to ask about is the caller's.
import { assert, present } from '../base/assert.ts'
import { parseDecimal } from '../base/text.ts'
import { keyType, type Vkey } from '../base/vkey.ts'
import { parseCheckpoint } from './checkpoint.ts'
import { checkNote, type Note, type NoteSignature, parseNote, printNote } from './note.ts'

/** Sends the body of an add-checkpoint; the status, content type and text of what came back. */
export type PostCheckpoint = (body: string) => Promise<{ status: number; type: string; text: string }>

/** A checkpoint of ours with our signature, and the proof that it only adds to the tree of `oldSize` leaves. */
export type Submission = { note: string; proveFrom(oldSize: number): readonly Buffer[] }

/**
 * `refused`: a status that grants nothing. `ahead`: it has cosigned more than we ask for. `conflict`: it has seen
 * another tree of this size. `malformed`: not of the specification. `untrue`: no right signature of its key.
 */
export type WitnessFault = 'refused' | 'ahead' | 'conflict' | 'malformed' | 'untrue'

/** `size`: what the witness has cosigned as far as we know, to begin with the next time. */
export type Witnessed =
  | { cosignature: NoteSignature; size: number }
  | { fault: WitnessFault; size: number; status: number }

const conflict = 409
const proofHashesMax = 63

/** Prints the body of a request: old size, proof, empty line, checkpoint. */
export function printSubmission(oldSize: number, { note, proveFrom }: Submission): string {
  const proof = proveFrom(oldSize)
  assert(proof.length <= proofHashesMax, 'a consistency proof is longer than any')
  return `old ${oldSize}\n${proof.map((hash) => `${hash.toString('base64')}\n`).join('')}\n${note}`
}

/**
 * Asks once, and once more if the witness says that it knows another size of this ledger.
 * @param knownSize - what it has cosigned as far as we know, 0 if nothing
 * @throws what `post` throws
 */
export async function askWitness(
  { witness, post, knownSize }: { witness: Vkey; post: PostCheckpoint; knownSize: number },
  submission: Submission,
): Promise<Witnessed> {
  const note = present(parseNote(submission.note), 'the form of our checkpoint')
  const { size } = present(parseCheckpoint(note.text), 'the form of our checkpoint')
  const old = Math.min(knownSize, size)
  const first = await post(printSubmission(old, submission))
  if (first.status !== conflict) return readAnswer(first, { note, witness, size, old })
  const theirs = readSize(first)
  if (theirs === undefined) return { fault: 'malformed', size: 0, status: conflict }
  if (theirs > size) return { fault: 'ahead', size: theirs, status: conflict }
  if (theirs === old) return { fault: 'conflict', size: theirs, status: conflict }
  const second = await post(printSubmission(theirs, submission))
  if (second.status === conflict) return { fault: 'conflict', size: theirs, status: conflict }
  return readAnswer(second, { note, witness, size, old: theirs })
}

/** A decimal and a newline, of the type that the specification gives it. */
function readSize({ type, text }: { type: string; text: string }): number | undefined {
  if (!/^text\/x\.tlog\.size(;|$)/.test(type) || !text.endsWith('\n')) return undefined
  return parseDecimal(text.slice(0, -1))
}

type Asked = { note: Note; witness: Vkey; size: number; old: number }

function readAnswer(
  answer: { status: number; text: string },
  { note, witness, size, old }: Asked,
): Witnessed {
  const { status, text } = answer
  if (status !== 200) return { fault: 'refused', size: old, status }
  // Its lines after our checkpoint make a note, whose reader knows all about signature lines.
  const answered = parseNote(printNote(note) + text)
  if (answered?.text !== note.text) return { fault: 'malformed', size: old, status }
  const given = answered.signatures.slice(note.signatures.length)
  const cosignature = given.find((signature) => isCosignature(note.text, signature, witness))
  return cosignature ? { cosignature, size } : { fault: 'untrue', size: old, status }
}

const isCosignature = (text: string, signature: NoteSignature, witness: Vkey) =>
  witness.type === keyType.cosignature &&
  checkNote({ text, signatures: [signature] }, [witness]) !== undefined
