// Signed notes and the keys that sign them (c2sp.org/signed-note, c2sp.org/tlog-cosignature): lines of text, then
// a line for each signature. Pure: it reads no clock and knows nothing of what the text says.
import { type KeyObject, sign, verify } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { readU64, u64 } from '../base/bytes.ts'
import { isLines, parseBase64 } from '../base/text.ts'
import { idOfKey, isKeyName, keyType, type Vkey, vkeyIdBytes } from '../base/vkey.ts'

export { isSameKey, type KeyType, keyType, parseVkey, printVkey, type Vkey } from '../base/vkey.ts'

/** Who signs: an Ed25519 private key and the name it signs as. */
export type Signer = { name: string; key: KeyObject }
/** One signature line; `bytes` are the key id and what that type of key signs. */
export type NoteSignature = { name: string; bytes: Buffer }
export type Note = { text: string; signatures: readonly NoteSignature[] }
/** A signature that was checked; a cosignature says when it was made (Unix s). */
export type Signed = { by: Vkey; timeS?: number }

const linePattern = /^\u2014 ([^ ]+) ([A-Za-z0-9+/=]+)$/
const idBytes = vkeyIdBytes
const signatureBytes = 64
const timeBytes = 8
/** Bounds of what we read from strangers; the specification asks for at least 16 signatures. */
const noteCharsMax = 64 * 1024
const signaturesMax = 64

/** What a cosignature is over: that at `timeS` this was the newest text its witness had seen. */
const cosignedBytes = (text: string, timeS: number) => Buffer.from(`cosignature/v1\ntime ${timeS}\n${text}`)

/** Signs the text of a note as its author. */
export function signNote(text: string, { name, key }: Signer): NoteSignature {
  const id = idOfKey(name, key, keyType.ed25519)
  return { name, bytes: Buffer.concat([id, sign(null, Buffer.from(text), key)]) }
}

/** Signs the text of a note as its witness, at `timeS` (Unix s). */
export function cosignNote(text: string, { name, key }: Signer, timeS: number): NoteSignature {
  assert(Number.isSafeInteger(timeS) && timeS >= 0, 'the time of a cosignature is not one')
  const id = idOfKey(name, key, keyType.cosignature)
  return { name, bytes: Buffer.concat([id, u64(timeS), sign(null, cosignedBytes(text, timeS), key)]) }
}

/**
 * Prints a note.
 * @throws Error for a text, a name or a number of signatures that no note has
 */
export function printNote({ text, signatures }: Note): string {
  const lines = signatures.map(({ name, bytes }) => `\u2014 ${name} ${bytes.toString('base64')}\n`)
  const printed = `${text}\n${lines.join('')}`
  // One reader decides what a note is: what it would not read as this text is never written.
  assert(parseNote(printed)?.text === text, 'a note that cannot be read back')
  return printed
}

function parseSignature(line: string): NoteSignature | undefined {
  const match = linePattern.exec(line)
  if (!match) return undefined
  const [, name, base64] = match as unknown as [string, string, string]
  const bytes = parseBase64(base64)
  return bytes && bytes.length > idBytes && isKeyName(name) ? { name, bytes } : undefined
}

/** Parses a note; undefined unless it is exactly what `printNote` prints. No signature is checked here. */
export function parseNote(printed: string): Note | undefined {
  if (printed.length > noteCharsMax || !isLines(printed)) return undefined
  // Texts may hold empty lines: the last one divides.
  const end = printed.lastIndexOf('\n\n') + 1
  const lines = printed.slice(end + 1).split('\n')
  if (end === 0 || lines.pop() !== '' || lines.length === 0 || lines.length > signaturesMax) return undefined
  const signatures: NoteSignature[] = []
  for (const line of lines) {
    const signature = parseSignature(line)
    if (!signature) return undefined
    signatures.push(signature)
  }
  return { text: printed.slice(0, end), signatures }
}

function checkSignature(text: string, by: Vkey, bytes: Buffer): Signed | undefined {
  if (by.type === keyType.ed25519) {
    const isRight = bytes.length === signatureBytes && verify(null, Buffer.from(text), by.key, bytes)
    return isRight ? { by } : undefined
  }
  if (bytes.length !== timeBytes + signatureBytes) return undefined
  if (bytes.readBigUInt64BE() > BigInt(Number.MAX_SAFE_INTEGER)) return undefined
  const timeS = readU64(bytes)
  const isRight = verify(null, cosignedBytes(text, timeS), by.key, bytes.subarray(timeBytes))
  return isRight ? { by, timeS } : undefined
}

/**
 * Checks the signatures of the keys we know; those of others are passed over.
 * @returns those that are right, at least one; undefined if there is none, or one of a known key is wrong
 */
export function checkNote({ text, signatures }: Note, keys: readonly Vkey[]): Signed[] | undefined {
  const checked: Signed[] = []
  for (const { name, bytes } of signatures) {
    const id = bytes.toString('hex', 0, idBytes)
    const by = keys.find((key) => key.name === name && key.id === id)
    if (!by) continue
    const signed = checkSignature(text, by, bytes.subarray(idBytes))
    if (!signed) return undefined
    checked.push(signed)
  }
  return checked.length > 0 ? checked : undefined
}
