// Every way the simulator spoils a reading of a good passport, by name, with the refusal that it must come to.
import { createHash, randomBytes } from 'node:crypto'
import type { Reading } from '../card/reading.ts'
import { refusal } from '../card/refusal.ts'
import type { ChipContext } from '../card/verdict.ts'
import { type HashName, makeKey, spkiOf } from './csca.ts'
import * as der from './der.ts'
import { flip } from './passport-spoils.ts'
import type { Chip } from './passports.ts'

type Represent = (given: { bytes: number; challenge: Buffer; hash: HashName }) => Buffer

/** One way to spoil a reading of a good passport. */
export type PassportReadSpoil = {
  refusal: number
  /** What the chip is made to sign for. */
  context?(given: ChipContext): ChipContext
  /** A key that is not the chip's signs. */
  chip?(chip: Chip): Chip
  /** What a chip of RSA signs in place of what it should. */
  represent?: Represent
  reading?(reading: Reading): Reading
}

/** `header || M1 || hash || trailer`, each as it should not be. */
const represented =
  (given: { header?: number; trailer: number[]; hash: string; hashBytes?: number }): Represent =>
  ({ bytes, challenge }) => {
    const { header = 0x6a, trailer, hash } = given
    const size = createHash(hash).digest().length
    const kept = given.hashBytes ?? size
    const first = randomBytes(bytes - 1 - kept - trailer.length)
    const hashed = createHash(hash).update(first).update(challenge).digest().subarray(0, kept)
    return Buffer.concat([Buffer.of(header), first, hashed, Buffer.from(trailer)])
  }

/** Every way a reading is spoiled after the passport was issued. */
export const passportReadingSpoils = {
  'sod emptied': { refusal: refusal.sodParse, reading: (r) => ({ ...r, sod: Buffer.alloc(0) }) },
  'zone altered': { refusal: refusal.dg1, reading: (r) => ({ ...r, dg1: flip(r.dg1, 10) }) },
  'security infos altered': { refusal: refusal.dg14, reading: (r) => ({ ...r, dg14: flip(r.dg14, -1) }) },
  'security infos left out': { refusal: refusal.dg14, reading: (r) => ({ ...r, dg14: Buffer.alloc(0) }) },
  'chip key replaced': {
    refusal: refusal.dg15,
    reading: (r) => ({ ...r, dg15: der.element(0x6f, spkiOf(makeKey({ curve: 'P-256' }))) }),
  },
  cloned: {
    refusal: refusal.chipSignature,
    chip: (chip) => ({
      ...chip,
      key: makeKey(chip.key.asymmetricKeyType === 'ec' ? { curve: 'P-256' } : { bits: 2048 }),
    }),
  },
  'chip signature altered': {
    refusal: refusal.chipSignature,
    reading: (r) => ({ ...r, chipSignature: flip(r.chipSignature, -1) }),
  },
  'chip signature of zeros': {
    refusal: refusal.chipSignature,
    reading: (r) => ({ ...r, chipSignature: Buffer.alloc(r.chipSignature.length) }),
  },
  'chip signature longer': {
    refusal: refusal.chipSignature,
    reading: (r) => ({ ...r, chipSignature: Buffer.concat([Buffer.of(0), r.chipSignature]) }),
  },
  'for another challenge': {
    refusal: refusal.chipSignature,
    context: (c) => ({ ...c, challenge: flip(c.challenge, 0) }),
  },
  'for another device': {
    refusal: refusal.chipSignature,
    context: (c) => ({ ...c, device: flip(c.device, 0) }),
  },
  'for another parcel': {
    refusal: refusal.chipSignature,
    context: (c) => ({ ...c, parcel: flip(c.parcel, 0) }),
  },
  'for another carrier': {
    refusal: refusal.chipSignature,
    context: (c) => ({ ...c, carrier: `${c.carrier}x` }),
  },
} as const satisfies Record<string, PassportReadSpoil>

/** Those of a chip of RSA, whose signature carries a message of its own. */
export const rsaReadingSpoils = {
  'trailer of SHA-1': {
    refusal: refusal.chipSignature,
    represent: represented({ trailer: [0xbc], hash: 'sha1' }),
  },
  'trailer of another digest': {
    refusal: refusal.chipSignature,
    represent: represented({ trailer: [0x36, 0xcc], hash: 'sha256' }),
  },
  'trailer of no digest': {
    refusal: refusal.chipSignature,
    represent: represented({ trailer: [0x33, 0xcc], hash: 'sha256' }),
  },
  'header of a whole message': {
    refusal: refusal.chipSignature,
    represent: represented({ header: 0x4a, trailer: [0x34, 0xcc], hash: 'sha256' }),
  },
  'digest cut short': {
    refusal: refusal.chipSignature,
    represent: represented({ trailer: [0x34, 0xcc], hash: 'sha256', hashBytes: 16 }),
  },
} as const satisfies Record<string, PassportReadSpoil>
