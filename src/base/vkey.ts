// Verifier keys as one line of text (c2sp.org/signed-note): `<name>+<id>+<base64 of type and key>`. Whoever is
// configured with one, and whoever checks with one, reads it here.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { assert } from './assert.ts'
import { sha256 } from './bytes.ts'
import { isLines, parseBase64 } from './text.ts'

/** Types of keys that we know, by their byte: the log's own signature, and a witness's with its time. */
export const keyType = { ed25519: 1, cosignature: 4 } as const
export type KeyType = (typeof keyType)[keyof typeof keyType]

/** Who may sign: the name and the id (4 bytes in hex) say which key a signature claims. */
export type Vkey = { name: string; id: string; type: KeyType; key: KeyObject }

export const vkeyIdBytes = 4

const namePattern = /^[^\p{White_Space}+]+$/u
const vkeyPattern = /^([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)$/
/** DER of an Ed25519 public key before its 32 bytes (RFC 8410 section 4). */
const spkiPrefix = Buffer.from('302a300506032b6570032100', 'hex')
const keyBytes = 32
const nameCharsMax = 255
const vkeyCharsMax = 1024

export const isKeyName = (name: string) =>
  name.length <= nameCharsMax && namePattern.test(name) && isLines(name)

/** The 32 bytes of a public key, or of a private key's public half. */
function rawOf(key: KeyObject): Buffer {
  assert(key.asymmetricKeyType === 'ed25519', 'a key for notes is not Ed25519')
  const half = key.type === 'private' ? createPublicKey(key) : key
  return half.export({ format: 'der', type: 'spki' }).subarray(-keyBytes)
}

const idOf = (name: string, typed: Buffer) => sha256(Buffer.from(`${name}\n`), typed).subarray(0, vkeyIdBytes)
const typedOf = (type: KeyType, key: KeyObject) => Buffer.concat([Buffer.of(type), rawOf(key)])

/** The id with which a signature by this key, under this name, begins: 4 bytes. */
export const idOfKey = (name: string, key: KeyObject, type: KeyType) => idOf(name, typedOf(type, key))

/** `<name>+<id>+<base64 of type and key>`; of a private key, its public half. */
export function printVkey(name: string, key: KeyObject, type: KeyType = keyType.ed25519): string {
  assert(isKeyName(name), 'a key name is not one')
  const typed = typedOf(type, key)
  return `${name}+${idOf(name, typed).toString('hex')}+${typed.toString('base64')}`
}

/** Parses what `printVkey` prints; undefined for other types of keys and any other text. */
export function parseVkey(text: string): Vkey | undefined {
  const match = text.length <= vkeyCharsMax ? vkeyPattern.exec(text) : null
  if (!match) return undefined
  const [, name, id, base64] = match as unknown as [string, string, string, string]
  const typed = parseBase64(base64, 1 + keyBytes)
  if (!typed || !isKeyName(name) || idOf(name, typed).toString('hex') !== id) return undefined
  const type = typed.readUInt8(0)
  if (type !== keyType.ed25519 && type !== keyType.cosignature) return undefined
  const der = Buffer.concat([spkiPrefix, typed.subarray(1)])
  return { name, id, type, key: createPublicKey({ key: der, format: 'der', type: 'spki' }) }
}

/** Whether two keys are one, under whatever names. */
export const isSameKey = (a: Vkey, b: Vkey) => a.key.equals(b.key)
