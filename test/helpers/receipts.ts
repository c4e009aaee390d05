// A small ledger made by hand, with a log key and two witnesses, and receipts from it.
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto'
import { printCheckpoint } from '../../src/ledger/checkpoint.ts'
import { type Entry, hashJti, hashWho, printEntry, type WhoOpening } from '../../src/ledger/entry.ts'
import { cosignNote, keyType, printNote, printVkey, signNote } from '../../src/ledger/note.ts'
import { printReceipt, type ReceiptParts } from '../../src/ledger/receipt.ts'
import { ReferenceTree } from './reference-tree.ts'

export const origin = 'vouchsafe.example/ledger'
const filled = (bytes: number, value: number) => Buffer.alloc(bytes, value)

/** An Ed25519 private key from a word. */
export function keyOf(word: string): KeyObject {
  const seed = createHash('sha256').update(word).digest()
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed])
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
}

export const ledgerVkey = printVkey(origin, keyOf('ledger'))
export const witnessNames = ['one.example', 'two.example'] as const
export const witnessVkeys = witnessNames.map((name) => printVkey(name, keyOf(name), keyType.cosignature))
export const cosignedS = 1_795_000_000

export const who: WhoOpening = {
  carrier: 'swift-parcel',
  outlet: 'SH-0042',
  device: filled(16, 0xd1),
  courier: filled(16, 0xc0),
  parcel: filled(32, 0xaa),
  jti: filled(16, 0x31),
  blind: filled(16, 0xb1),
}
export const undecidedWho: WhoOpening = { ...who, jti: filled(16, 0) }
export const timeMs = Date.UTC(2026, 10, 23, 12, 0, 0, 7)

/** A verify entry of `opening`, with `change` made to it. */
export const verifyEntry = (opening = who, change: Partial<Entry> = {}): Buffer =>
  printEntry({
    type: 1,
    timeMs,
    who: hashWho(opening),
    answer: 1,
    sealedHash: filled(32, 6),
    jtiHash: hashJti(opening.jti),
    privateHash: filled(32, 8),
    ...change,
  })
export const undecidedEntry = (opening = undecidedWho): Buffer =>
  printEntry({
    type: 2,
    timeMs,
    who: hashWho(opening),
    answer: 3,
    sealedHash: filled(32, 6),
    privateHash: filled(32, 8),
  })
export const actEntry = (): Buffer => printEntry({ type: 5, timeMs, actHash: filled(32, 9) })

/** A ledger of `size` entries, of which `data` is the one at `index`. */
export function treeWith(data: Buffer, { index, size }: { index: number; size: number }): ReferenceTree {
  return new ReferenceTree(Array.from({ length: size }, (_, i) => (i === index ? data : Buffer.from(`${i}`))))
}

export type ReceiptOptions = {
  data?: Buffer
  opening?: WhoOpening
  index?: number
  size?: number
  witnesses?: number
  /** Name and key of the log, where not the right ones. */
  log?: { origin?: string; name?: string; key?: KeyObject }
}

/** Parts of a receipt that is true unless the options say otherwise. */
export function receiptParts(options: ReceiptOptions = {}): ReceiptParts {
  const { data = verifyEntry(), opening = who, index = 5, size = 11, witnesses = 0, log = {} } = options
  const tree = treeWith(data, { index, size })
  const text = printCheckpoint({ origin: log.origin ?? origin, size, root: tree.hash(0, size) })
  const signatures = [signNote(text, { name: log.name ?? origin, key: log.key ?? keyOf('ledger') })]
  for (const name of witnessNames.slice(0, witnesses)) {
    signatures.push(cosignNote(text, { name, key: keyOf(name) }, cosignedS))
  }
  return {
    index,
    proof: tree.path(index, 0, size),
    data,
    who: opening,
    note: printNote({ text, signatures }),
  }
}

export const receiptOf = (options: ReceiptOptions = {}) => printReceipt(receiptParts(options))

/** The token that the receipt of `receiptOf()` is for, with claims changed; signed by nobody. */
export function tokenOf(change: Record<string, unknown> = {}): string {
  const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const { carrier, device, parcel, jti } = who
  const leaf = createHash('sha256')
    .update(Buffer.concat([Buffer.of(0), verifyEntry()]))
    .digest()
  const claims = {
    iss: 'https://vouchsafe.example',
    aud: `urn:vouchsafe:carrier:${carrier}`,
    jti: jti.toString('base64url'),
    iat: Math.floor(timeMs / 1000),
    exp: Math.floor(timeMs / 1000) + 86_400,
    answer: 'yes',
    parcel: parcel.toString('base64url'),
    device: device.toString('base64url'),
    level: 'chip+bureau',
    leaf: leaf.toString('base64url'),
    index: 5,
    ...change,
  }
  return `${part({ alg: 'ES256', typ: 'answer+jwt' })}.${part(claims)}.c2ln`
}
