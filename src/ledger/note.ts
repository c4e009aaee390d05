// Signed notes and the keys that sign them (c2sp.org/signed-note, c2sp.org/tlog-cosignature): lines of text, then
// a line for each signature. Pure: it reads no clock and knows nothing of what the text says.
import { createPublicKey, type KeyObject, sign, verify } from 'node:crypto'
import { assert } from '../base/assert.ts'
import { readU64, sha256, u64 } from '../base/bytes.ts'
import { isLines, parseBase64 } from '../base/text.ts'

/** Types of keys that we know, by their byte: the log's own signature, and a witness's with its time. */
export const keyType = { ed25519: 1, cosignature: 4 } as const
export type KeyType = (typeof keyType)[keyof typeof keyType]

/** Who may sign: the name and the id (4 bytes in hex) say which key a signature claims. */
export type Vkey = { name: string; id: string; type: KeyType; key: KeyObject }
/** Who signs: an Ed25519 private key and the name it signs as. */
export type Signer = { name: string; key: KeyObject }
/** One signature line; `bytes` are the key id and what that type of key signs. */
export type NoteSignature = { name: string; bytes: Buffer }
export type Note = { text: string; signatures: readonly NoteSignature[] }
/** A signature that was checked; a cosignature says when it was made (Unix s). */
export type Signed = { by: Vkey; timeS?: number }

const namePattern = /^[^\p{White_Space}+]+$/u
const vkeyPattern = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/
const linePattern = /^\u2014 ([^ ]+) ([A-Za-z0-9+/=]+)$/
/** DER of an Ed25519 public key before its 32 bytes (RFC 8410 section 4). */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')
const keyBytes = 32
const idBytes = 4
const signatureBytes = 64
const timeBytes = 8
const nameCharsMax = 255
/** Bounds of what we read from strangers; the specification asks for at least 16 signatures. */
const noteCharsMax = 64 * 1024
const signaturesMax = 64

const isName = (name: string) => name.length <= nameCharsMax && namePattern.test(name) && isLines(name)

/** The 32 bytes of a public key, or of a private key's public half. */
function rawOf(key: KeyObject): Buffer {
  assert(key.asymmetricKeyType === 'ed25519', 'a key for notes is not Ed25519')
  const half = key.type === 'private' ? createPublicKey(key) : key
  return half.export({ format: 'der', type: 'spki' }).subarray(-keyBytes)
}

const idOf = (name: string, typed: Buffer) => sha256(Buffer.from(`${name}\n`), typed).subarray(0, idBytes)
const typedOf = (type: KeyType, key: KeyObject) => Buffer.concat([Buffer.of(type), rawOf(key)])

/** `<name>+<id>+<base64 of type and key>`; of a private key, its public half. */
export function printVkey(name: string, key: KeyObject, type: KeyType = keyType.ed25519): string {
  assert(isName(name), 'a key name is not one')
  const typed = typedOf(type, key)
  return `${name}+${idOf(name, typed).toString('hex')}+${typed.toString('base64')}`
}

/** Parses what `printVkey` prints; undefined for other types of keys and any other text. */
export function parseVkey(text: string): Vkey | undefined {
  const match = text.length <= noteCharsMax ? vkeyPattern.exec(text) : null
  if (!match) return undefined
  const [, name, id, base64] = match as unknown as [string, string, string, string]
  const typed = parseBase64(base64, 1 + keyBytes)
  if (!typed || !isName(name) || idOf(name, typed).toString('hex') !== id) return undefined
  const type = typed.readUInt8(0)
  if (type !== keyType.ed25519 && type !== keyType.cosignature) return undefined
  const der = Buffer.concat([spkiPrefix, typed.subarray(1)])
  return { name, id, type, key: createPublicKey({ key: der, format: 'der', type: 'spki' }) }
}

/** Whether two keys are one, under whatever names. */
export const isSameKey = (a: Vkey, b: Vkey) => a.key.equals(b.key)

/** What a cosignature is over: that at `timeS` this was the newest text its witness had seen. */
const cosignedBytes = (text: string, timeS: number) => Buffer.from(`cosignature/v1\ntime ${timeS}\n${text}`)

/** Signs the text of a note as its author. */
export function signNote(text: string, { name, key }: Signer): NoteSignature {
  const id = idOf(name, typedOf(keyType.ed25519, key))
  return { name, bytes: Buffer.concat([id, sign(null, Buffer.from(text), key)]) }
}

/** Signs the text of a note as its witness, at `timeS` (Unix s). */
export function cosignNote(text: string, { name, key }: Signer, timeS: number): NoteSignature {
  assert(Number.isSafeInteger(timeS) && timeS >= 0, 'the time of a cosignature is not one')
  const id = idOf(name, typedOf(keyType.cosignature, key))
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
  return bytes && bytes.length > idBytes && isName(name) ? { name, bytes } : undefined
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
