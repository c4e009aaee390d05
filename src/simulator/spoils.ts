// Every way the simulator spoils a card or its reading, by name, with the refusal that it must come to. Refusals
// that need another document signer (R05, R06) come from the signer given at the issue (PROTOCOL section 7).
import { generateKeyPairSync } from 'node:crypto'
import type { Reading } from '../card/reading.ts'
import { checkCharacterOf } from '../card/record.ts'
import { refusal } from '../card/refusal.ts'
import type { ChipContext } from '../card/verdict.ts'
import { p256Signing, printSpki, type Signing, sm2Signing } from '../pki/signing.ts'
import type { CardHolder } from './cards.ts'
import {
  type Asn1,
  type Attribute,
  algorithm,
  bytesOf,
  context,
  type Files,
  GENERALIZEDTIME,
  ids,
  integer,
  NULL,
  OCTETSTRING,
  octets,
  oid,
  raw,
  type SodPlan,
  sequence,
  set,
  signerIdOf,
} from './sod.ts'

/** One way to spoil a card: what is done before its issuer signs, or to the printed SOD. */
export type Spoil = {
  /** What it must come to: a number of PROTOCOL section 7. */
  refusal: number
  holder?(holder: CardHolder): CardHolder
  files?(files: Files, signing: Signing): Files
  signedMs?(ms: number): number
  sod?(plan: SodPlan, signing: Signing): Partial<SodPlan>
  printed?(sod: Buffer): Buffer
}

const otherThan = (signing: Signing) => (signing === sm2Signing ? p256Signing : sm2Signing)
const tenYearsMs = 3652 * 86_400_000
const printedHeadBytes = 4 // 30 82 and two bytes of length: no SOD is shorter than 256 bytes.

function flip(bytes: Buffer, at: number): Buffer {
  const out = Buffer.from(bytes)
  const index = at < 0 ? bytes.length + at : at
  out.writeUInt8(out.readUInt8(index) ^ 1, index)
  return out
}

const withHash =
  (group: number) =>
  (plan: SodPlan): Partial<SodPlan> => ({
    lds: {
      ...plan.lds,
      hashes: plan.lds.hashes.map(([g, hash]) => [g, g === group ? flip(hash, 0) : hash]),
    },
  })

const withHashes =
  (change: (hashes: [number, Buffer][]) => [number, Buffer][]) =>
  (plan: SodPlan): Partial<SodPlan> => ({ lds: { ...plan.lds, hashes: change(plan.lds.hashes) } })

const withAttributes =
  (change: (attributes: Attribute[]) => Attribute[]) =>
  (plan: SodPlan): Partial<SodPlan> => ({ attributes: (content) => change(plan.attributes(content)) })

/** Another value for one attribute. */
const withAttribute = (id: string, value: Asn1) =>
  withAttributes((all) => all.map((one) => (one[0] === id ? [id, value] : one)))

/** Another day of birth in number and field, with the right check character. */
function bornOn(holder: CardHolder, birth: string): CardHolder {
  const digits17 = `${holder.number.slice(0, 6)}${birth}${holder.number.slice(14, 17)}`
  return { ...holder, birth, number: digits17 + checkCharacterOf(digits17) }
}

const otherDigit = (character: string | undefined) => (character === '1' ? '2' : '1')

/** Every way a card is spoiled at its issue. R03, R05 and R06 also come from the signer that is given. */
export const cardSpoils = {
  'trailing byte': { refusal: refusal.sodParse, printed: (sod) => Buffer.concat([sod, Buffer.of(0)]) },
  'indefinite length': {
    refusal: refusal.sodParse,
    printed: (sod) => Buffer.concat([Buffer.of(0x30, 0x80), sod.subarray(printedHeadBytes), Buffer.alloc(2)]),
  },
  'length not minimal': {
    refusal: refusal.sodParse,
    printed: (sod) => Buffer.concat([Buffer.of(0x30, 0x83, 0), sod.subarray(2)]),
  },
  // As BER allows and many writers of CMS do.
  'content in pieces': {
    refusal: refusal.sodParse,
    sod: () => ({ encapsulate: (content) => raw(OCTETSTRING, true, [octets(content)]) }),
  },
  'digest algorithms not in order': {
    refusal: refusal.sodParse,
    sod: (p) => ({ digests: [algorithm(ids.sha512), ...p.digests] }),
  },
  'not signed data': { refusal: refusal.sodProfile, sod: () => ({ type: ids.data }) },
  'version 1': { refusal: refusal.sodProfile, sod: () => ({ version: integer(1) }) },
  'two digest algorithms': {
    refusal: refusal.sodProfile,
    sod: (p) => ({ digests: [...p.digests, algorithm(ids.sha512)] }),
  },
  'digest parameters': {
    refusal: refusal.sodProfile,
    sod: (_, { digest }) => ({ digests: [algorithm(digest, raw(NULL, false, ''))] }),
  },
  'content is data': { refusal: refusal.sodProfile, sod: () => ({ contentType: ids.data }) },
  'lds version 1': {
    refusal: refusal.sodProfile,
    sod: (p) => ({ lds: { ...p.lds, version: 1 } }),
  },
  'lds digest of another suite': {
    refusal: refusal.sodProfile,
    sod: (p, signing) => ({ lds: { ...p.lds, digest: algorithm(otherThan(signing).digest) } }),
  },
  'lds order': { refusal: refusal.sodProfile, sod: withHashes((all) => [...all].reverse()) },
  'lds group twice': {
    refusal: refusal.sodProfile,
    sod: withHashes((all) => all.flatMap((one) => (one[0] === 14 ? [one, one] : [one]))),
  },
  'lds without 14': {
    refusal: refusal.sodProfile,
    sod: withHashes((all) => all.filter(([group]) => group !== 14)),
  },
  'lds hash cut short': {
    refusal: refusal.sodProfile,
    sod: withHashes((all) => all.map(([group, hash]) => [group, hash.subarray(0, 31)])),
  },
  'no certificate': { refusal: refusal.sodProfile, sod: () => ({ certificates: [] }) },
  'two certificates': {
    refusal: refusal.sodProfile,
    sod: (p) => ({ certificates: [...p.certificates, bytesOf(sequence())] }),
  },
  'revocation list inside': { refusal: refusal.sodProfile, sod: () => ({ lists: [context(1, [])] }) },
  'no signer': { refusal: refusal.sodProfile, sod: () => ({ signers: 0 }) },
  'two signers': { refusal: refusal.sodProfile, sod: () => ({ signers: 2 }) },
  'signer named by key': {
    refusal: refusal.sodProfile,
    sod: () => ({ sid: () => context(0, '\x01'.repeat(20)) }),
  },
  'signer of another serial': {
    refusal: refusal.sodProfile,
    sod: () => ({ sid: (der) => sequence(signerIdOf(der)[0], integer(1)) }),
  },
  'no signed attributes': { refusal: refusal.sodProfile, sod: withAttributes(() => []) },
  'unsigned attribute': {
    refusal: refusal.sodProfile,
    sod: () => ({
      unsigned: [context(1, [sequence(oid(ids.signingDescription), set(octets(Buffer.of(1))))])],
    }),
  },
  'signer digest of another suite': {
    refusal: refusal.sodProfile,
    sod: (_, signing) => ({ signerDigest: algorithm(otherThan(signing).digest) }),
  },
  'signature algorithm of another suite': {
    refusal: refusal.sodProfile,
    sod: (_, signing) => ({ signatureAlgorithm: algorithm(otherThan(signing).signature) }),
  },
  'certificate altered': {
    refusal: refusal.signerUntrusted,
    sod: (p) => ({ certificates: p.certificates.map((der) => flip(der, -1)) }),
  },
  'signed too early': { refusal: refusal.signerTime, signedMs: (ms) => ms - tenYearsMs },
  'signed in the future': { refusal: refusal.signerTime, signedMs: (ms) => ms + tenYearsMs },
  'wrong content type': {
    refusal: refusal.attributes,
    sod: withAttribute(ids.contentType, oid(ids.data)),
  },
  'signing time missing': {
    refusal: refusal.attributes,
    sod: withAttributes((all) => all.filter(([id]) => id !== ids.signingTime)),
  },
  'signing time generalized': {
    refusal: refusal.attributes,
    sod: withAttribute(ids.signingTime, raw(GENERALIZEDTIME, false, '20260101000000Z')),
  },
  'extra attribute': {
    refusal: refusal.attributes,
    sod: withAttributes((all) => [...all, [ids.signingDescription, octets(Buffer.of(1))]]),
  },
  'attribute twice': {
    refusal: refusal.attributes,
    sod: withAttributes((all) => [...all, ...all.slice(-1)]),
  },
  'attributes not in order': {
    refusal: refusal.attributes,
    sod: (p) => ({ order: (attributes) => p.order(attributes).reverse() }),
  },
  'another message digest': {
    refusal: refusal.messageDigest,
    sod: withAttribute(ids.messageDigest, octets(Buffer.alloc(32, 7))),
  },
  'forged signature': {
    refusal: refusal.sodSignature,
    sod: (_, { signDer, makeKey }) => ({ sign: (message) => signDer(makeKey(), message) }),
  },
  'signature altered': {
    refusal: refusal.sodSignature,
    sod: (p) => ({ sign: (message) => flip(p.sign(message), -1) }),
  },
  'signature with a trailing byte': {
    refusal: refusal.sodSignature,
    sod: (p) => ({ sign: (message) => Buffer.concat([p.sign(message), Buffer.of(0)]) }),
  },
  'signature of zeros': {
    refusal: refusal.sodSignature,
    sod: () => ({ sign: () => bytesOf(sequence(integer(0), integer(0))) }),
  },
  'wrong dg1 digest': { refusal: refusal.dg1, sod: withHash(1) },
  'wrong dg14 digest': { refusal: refusal.dg14, sod: withHash(14) },
  'wrong dg15 digest': { refusal: refusal.dg15, sod: withHash(15) },
  'chip key of another curve': {
    refusal: refusal.chipKey,
    files: (files) => ({
      ...files,
      dg15: printSpki(generateKeyPairSync('ec', { namedCurve: 'P-384' }).publicKey),
    }),
  },
  'chip key off the curve': {
    refusal: refusal.chipKey,
    files: (files) => ({ ...files, dg15: Buffer.concat([files.dg15.subarray(0, -64), Buffer.alloc(64, 1)]) }),
  },
  'chip key of another': {
    refusal: refusal.chipSignature,
    files: (files, { makeKey }) => ({ ...files, dg15: printSpki(makeKey()) }),
  },
  'name blank': { refusal: refusal.text, holder: (h) => ({ ...h, name: '' }) },
  'control character': {
    refusal: refusal.text,
    holder: (h) => ({ ...h, name: `${h.name.slice(0, 4)}\u0007` }),
  },
  'half a character': {
    refusal: refusal.text,
    holder: (h) => ({ ...h, address: `${h.address.slice(0, 4)}\ud840` }),
  },
  'valid to no day': { refusal: refusal.text, holder: (h) => ({ ...h, validTo: '20270230' }) },
  'number blank': { refusal: refusal.number, holder: (h) => ({ ...h, number: '' }) },
  'number of 15 digits': {
    refusal: refusal.number,
    holder: (h) => ({ ...h, number: h.number.slice(0, 6) + h.number.slice(8, 17) }),
  },
  'wrong check character': {
    refusal: refusal.number,
    holder: (h) => ({ ...h, number: h.number.slice(0, 17) + otherDigit(h.number[17]) }),
  },
  'born on another day': {
    refusal: refusal.birth,
    holder: (h) => ({ ...h, birth: bornOn(h, '19010101').birth }),
  },
  'born on no day': { refusal: refusal.birth, holder: (h) => bornOn(h, '19900230') },
  'born in the future': { refusal: refusal.birth, holder: (h) => bornOn(h, '20990101') },
  'other sex': { refusal: refusal.sex, holder: (h) => ({ ...h, sex: h.sex === '1' ? '2' : '1' }) },
  'not yet valid': {
    refusal: refusal.notYetValid,
    holder: (h) => ({ ...h, validFrom: '20990101', validTo: '20991231' }),
  },
  expired: {
    refusal: refusal.expired,
    holder: (h) => ({ ...h, validFrom: '20090301', validTo: '20190301' }),
  },
} as const satisfies Record<string, Spoil>

export type CardSpoil = keyof typeof cardSpoils

/** One way to spoil a reading of a good card. */
export type ReadSpoil = {
  refusal: number
  /** What the chip is made to sign for. */
  context?(given: ChipContext): ChipContext
  /** A key that is not the chip's signs. */
  foreignChip?: boolean
  reading?(reading: Reading, signing: Signing): Reading
}

/** Every way a reading is spoiled after the card was issued. */
export const readingSpoils = {
  'sod emptied': { refusal: refusal.sodParse, reading: (r) => ({ ...r, sod: Buffer.alloc(0) }) },
  'record altered': { refusal: refusal.dg1, reading: (r) => ({ ...r, dg1: flip(r.dg1, 16) }) },
  'salt altered': { refusal: refusal.dg1, reading: (r) => ({ ...r, dg1: flip(r.dg1, 0) }) },
  'card serial altered': { refusal: refusal.dg14, reading: (r) => ({ ...r, dg14: flip(r.dg14, -1) }) },
  'chip key replaced': {
    refusal: refusal.dg15,
    reading: (r, { makeKey }) => ({ ...r, dg15: printSpki(makeKey()) }),
  },
  cloned: { refusal: refusal.chipSignature, foreignChip: true },
  'chip signature altered': {
    refusal: refusal.chipSignature,
    reading: (r) => ({ ...r, chipSignature: flip(r.chipSignature, -1) }),
  },
  'chip signature of zeros': {
    refusal: refusal.chipSignature,
    reading: (r) => ({ ...r, chipSignature: Buffer.alloc(64) }),
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
} as const satisfies Record<string, ReadSpoil>

export type ReadingSpoil = keyof typeof readingSpoils
