// Every way the simulator spoils a passport at its issue, by name, with the refusal that it must come to. What needs
// another signer or state comes from the signer given at the issue (PROTOCOL section 7).
import { constants, createHash, generateKeyPairSync, privateEncrypt, randomBytes } from 'node:crypto'
import { checkDigitOf } from '../card/passport/mrz.ts'
import { refusal } from '../card/refusal.ts'
import {
  digestAlgorithm,
  type HashName,
  makeKey,
  type PassportSigner,
  signatureAlgorithm,
  signWith,
  spkiOf,
} from './csca.ts'
import * as der from './der.ts'
import { type EfSodPlan, hashWith, ids, type PassportFiles } from './ef-sod.ts'
import type { PassportHolder } from './passports.ts'

/** One way to spoil a passport: what is done before its state signs, or to the printed EF.SOD. */
export type PassportSpoil = {
  /** What it must come to: a number of PROTOCOL section 7. */
  refusal: number
  holder?(holder: PassportHolder): PassportHolder
  mrz?(mrz: string): string
  files?(files: PassportFiles): PassportFiles
  sod?(plan: EfSodPlan, signer: PassportSigner): Partial<EfSodPlan>
  printed?(sod: Buffer): Buffer
}

export function flip(bytes: Buffer, at: number): Buffer {
  const out = Buffer.from(bytes)
  const index = at < 0 ? bytes.length + at : at
  out.writeUInt8(out.readUInt8(index) ^ 1, index)
  return out
}

const withHash = (group: number) => (plan: EfSodPlan) => ({
  lds: {
    ...plan.lds,
    hashes: plan.lds.hashes.map(([of, hash]): [number, Buffer] => [of, of === group ? flip(hash, 0) : hash]),
  },
})

const withAttributes =
  (change: (all: [string, Buffer][]) => [string, Buffer][]) =>
  (plan: EfSodPlan): Partial<EfSodPlan> => ({ attributes: (content) => change(plan.attributes(content)) })

const without = (id: string) => withAttributes((all) => all.filter(([of]) => of !== id))

/** Line two of a TD3 zone, and so is everything that has a check digit. */
const second = 44
const put = (text: string, at: number, characters: string) =>
  text.slice(0, at) + characters + text.slice(at + characters.length)
const otherDigit = (digit: string) => (digit === '1' ? '2' : '1')
const withOtherDigit = (at: number) => (mrz: string) =>
  put(mrz, second + at, otherDigit(mrz.charAt(second + at)))

/** The composite digit made right again: the fault is the one below it alone. */
function recomposed(mrz: string): string {
  const line = mrz.slice(second)
  return put(mrz, second + 43, checkDigitOf(line.slice(0, 10) + line.slice(13, 20) + line.slice(21, 43)))
}

const sha1 = der.sequence(der.oid(ids.sha1), der.nothing)

/** SHA-1 over RSA, which many older passports have. */
const rsaSha1 = der.sequence(der.oid('1.2.840.113549.1.1.5'), der.nothing)

const digestInfo = (hash: HashName, message: Buffer) =>
  der.sequence(der.sequence(der.oid(hashIds[hash]), der.nothing), der.octets(hashWith(hash, message)))
const hashIds: Record<HashName, string> = {
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
}

/** A block of PKCS#1 v1.5 with little padding and rubbish after the digest (Bleichenbacher 2006). */
function signWithRubbish({ key, signature }: PassportSigner, message: Buffer): Buffer {
  const bytes = (key.asymmetricKeyDetails?.modulusLength ?? 0) / 8
  const block = Buffer.concat([
    Buffer.of(0, 1, ...Array<number>(8).fill(0xff), 0),
    digestInfo(signature.hash, message),
    randomBytes(bytes),
  ]).subarray(0, bytes)
  return privateEncrypt({ key, padding: constants.RSA_NO_PADDING }, block)
}

/** A key that anybody could have: 65537 is the least exponent accepted. */
const rsaWith = (modulusLength: number, publicExponent = 0x10001) =>
  spkiOf(generateKeyPairSync('rsa', { modulusLength, publicExponent }).privateKey)
const dg15 = (spki: Buffer) => (files: PassportFiles) => ({ ...files, dg15: der.element(0x6f, spki) })

/** EF.DG14 with other SecurityInfos. */
const dg14 =
  (...infos: Buffer[]) =>
  (files: PassportFiles) => ({
    ...files,
    dg14: der.element(0x6e, der.setOf(...infos)),
  })
const active = (algorithm: string, version = 1) =>
  der.sequence(der.oid('2.23.136.1.1.5'), der.integer(version), der.oid(algorithm))
const plainSha256 = '0.4.0.127.0.7.1.1.4.1.3'

/** RSAPublicKey with a modulus of its own and a public exponent of 1: every number is its own signature. */
function exponentOne(): Buffer {
  const modulus = randomBytes(256)
  modulus[0] = 0xc3
  modulus[255] = 0xc3
  const key = der.sequence(der.unsigned(modulus), der.integer(1))
  return der.sequence(der.sequence(der.oid('1.2.840.113549.1.1.1'), der.nothing), der.bits(key))
}

/** P-256 in full, but for its generator: the key's own point, of which the private key is 1 (CVE-2020-0601). */
function ownGenerator(): Buffer {
  const spki = spkiOf(makeKey({ curve: 'P-256', explicit: true }))
  const point = spki.subarray(-65)
  const at = spki.indexOf(Buffer.from('0441', 'hex')) + 2
  point.copy(spki, at)
  return spki
}

/** Every way a passport is spoiled at its issue; those of PSS and RSA need a signer that signs so. */
export const passportSpoils = {
  'trailing byte': { refusal: refusal.sodParse, printed: (sod) => Buffer.concat([sod, Buffer.of(0)]) },
  'indefinite length': {
    refusal: refusal.sodParse,
    printed: (sod) => Buffer.concat([Buffer.of(0x77, 0x80), sod.subarray(4), Buffer.alloc(2)]),
  },
  'not wrapped': { refusal: refusal.sodProfile, printed: (sod) => sod.subarray(4) },
  'wrapped as another file': { refusal: refusal.sodProfile, sod: () => ({ fileTag: 0x61 }) },
  'not signed data': { refusal: refusal.sodProfile, sod: () => ({ type: ids.data }) },
  'content is data': { refusal: refusal.sodProfile, sod: () => ({ contentType: ids.data }) },
  'no signer': { refusal: refusal.sodProfile, sod: () => ({ signers: 0 }) },
  'two signers': { refusal: refusal.sodProfile, sod: () => ({ signers: 2 }) },
  'signer of a later version': { refusal: refusal.sodProfile, sod: () => ({ signerVersion: 2 }) },
  'revocation list inside': { refusal: refusal.sodProfile, sod: () => ({ lists: [der.explicit(1)] }) },
  'unsigned attributes': { refusal: refusal.sodProfile, sod: () => ({ unsigned: [der.explicit(1)] }) },
  'no certificate': { refusal: refusal.sodProfile, sod: () => ({ certificates: [] }) },
  'certificate twice': {
    refusal: refusal.sodProfile,
    sod: (plan) => ({ certificates: [...plan.certificates, ...plan.certificates] }),
  },
  'digest not announced': {
    refusal: refusal.sodProfile,
    sod: (_, { signature }) => ({
      digests: [digestAlgorithm(signature.hash === 'sha512' ? 'sha256' : 'sha512')],
    }),
  },
  'files hashed with SHA-1': {
    refusal: refusal.sodProfile,
    sod: (plan) => ({
      lds: {
        ...plan.lds,
        digest: sha1,
        hashes: plan.lds.hashes.map(([group, hash]) => [group, createHash('sha1').update(hash).digest()]),
      },
    }),
  },
  'signed with SHA-1': {
    refusal: refusal.sodProfile,
    sod: () => ({ digests: [sha1], signerDigest: sha1, signatureAlgorithm: rsaSha1 }),
  },
  'digest beside another signature': {
    refusal: refusal.sodProfile,
    sod: (plan, { signature }) => {
      const other = digestAlgorithm(signature.hash === 'sha512' ? 'sha256' : 'sha512')
      return { digests: [...plan.digests, other], signerDigest: other }
    },
  },
  'mask of another digest': {
    refusal: refusal.sodProfile,
    sod: (_, { signature }) => ({
      signatureAlgorithm: signatureAlgorithm(
        { ...signature, padding: 'pss' },
        { mask: signature.hash === 'sha512' ? 'sha256' : 'sha512' },
      ),
    }),
  },
  'salt longer than the digest': {
    refusal: refusal.sodProfile,
    sod: (_, { signature }) => ({
      signatureAlgorithm: signatureAlgorithm({ ...signature, padding: 'pss' }, { saltBytes: 65 }),
    }),
  },
  'PSS without parameters': {
    refusal: refusal.sodProfile,
    sod: () => ({ signatureAlgorithm: der.sequence(der.oid('1.2.840.113549.1.1.10')) }),
  },
  'lds version 2': { refusal: refusal.sodProfile, sod: (p) => ({ lds: { ...p.lds, version: 2 } }) },
  'lds version 1 without versions': {
    refusal: refusal.sodProfile,
    sod: (p) => ({ lds: { ...p.lds, version: 1, versions: [] } }),
  },
  'lds group twice': {
    refusal: refusal.sodProfile,
    sod: (p) => ({ lds: { ...p.lds, hashes: p.lds.hashes.flatMap((one) => [one, one]) } }),
  },
  'lds hash cut short': {
    refusal: refusal.sodProfile,
    sod: (p) => ({ lds: { ...p.lds, hashes: p.lds.hashes.map(([of, hash]) => [of, hash.subarray(1)]) } }),
  },
  'lds without 1': {
    refusal: refusal.sodProfile,
    sod: (p) => ({ lds: { ...p.lds, hashes: p.lds.hashes.filter(([of]) => of !== 1) } }),
  },
  'content type is data': {
    refusal: refusal.attributes,
    sod: withAttributes((all) =>
      all.map((one) => (one[0] === ids.contentType ? [one[0], der.oid(ids.data)] : one)),
    ),
  },
  'no message digest': { refusal: refusal.attributes, sod: without(ids.messageDigest) },
  'no content type': { refusal: refusal.attributes, sod: without(ids.contentType) },
  'attribute twice': {
    refusal: refusal.attributes,
    sod: withAttributes((all) => [...all, ...all.slice(0, 1)]),
  },
  'message digest of another': {
    refusal: refusal.messageDigest,
    sod: withAttributes((all) =>
      all.map(([id, value]) => [id, id === ids.messageDigest ? flip(value, -1) : value]),
    ),
  },
  'forged signature': {
    refusal: refusal.sodSignature,
    sod: (_, { signature }) => ({
      sign: (message) => {
        const key = makeKey(signature.padding === 'ecdsa' ? { curve: 'P-256' } : { bits: 2048 })
        return signWith({ key, signature }, message)
      },
    }),
  },
  'signature with a trailing byte': {
    refusal: refusal.sodSignature,
    sod: (p) => ({ sign: (message) => Buffer.concat([p.sign(message), Buffer.of(0)]) }),
  },
  'signature of nothing': { refusal: refusal.sodSignature, sod: () => ({ sign: () => Buffer.alloc(0) }) },
  'ECDSA of zeros': {
    refusal: refusal.sodSignature,
    sod: () => ({ sign: () => der.sequence(der.integer(0), der.integer(0)) }),
  },
  'wrong dg1 digest': { refusal: refusal.dg1, sod: withHash(1) },
  'wrong dg15 digest': { refusal: refusal.dg15, sod: withHash(15) },
  'lds without 15': {
    refusal: refusal.dg15,
    sod: (p) => ({ lds: { ...p.lds, hashes: p.lds.hashes.filter(([of]) => of !== 15) } }),
  },
  'chip key of 1024 bits': { refusal: refusal.chipKey, files: (files) => dg15(rsaWith(1024))(files) },
  'chip key of exponent 3': { refusal: refusal.chipKey, files: (files) => dg15(rsaWith(2048, 3))(files) },
  'chip key of exponent 1': { refusal: refusal.chipKey, files: (files) => dg15(exponentOne())(files) },
  'chip key with a generator of its own': {
    refusal: refusal.chipKey,
    files: (files) => dg15(ownGenerator())(files),
  },
  'chip key on a curve of none': {
    refusal: refusal.chipKey,
    files: (files) => dg15(spkiOf(generateKeyPairSync('ec', { namedCurve: 'secp256k1' }).privateKey))(files),
  },
  'chip key off the curve': {
    refusal: refusal.chipKey,
    files: (files) => ({ ...files, dg15: Buffer.concat([files.dg15.subarray(0, -64), Buffer.alloc(64, 1)]) }),
  },
  'chip key of another': {
    refusal: refusal.chipSignature,
    files: (files) => dg15(spkiOf(makeKey({ curve: 'P-256' })))(files),
  },
  'ECDSA without its digest': {
    refusal: refusal.chipKey,
    files: (files) => ({ ...files, dg14: Buffer.alloc(0) }),
  },
  'ECDSA with SHA-1': { refusal: refusal.chipKey, files: dg14(active('0.4.0.127.0.7.1.1.4.1.1')) },
  'ECDSA with a digest beyond the curve': {
    refusal: refusal.chipKey,
    files: dg14(active('0.4.0.127.0.7.1.1.4.1.5')),
  },
  'active authentication twice': {
    refusal: refusal.chipKey,
    files: dg14(active(plainSha256), active('0.4.0.127.0.7.1.1.4.1.4')),
  },
  'active authentication of version 2': { refusal: refusal.chipKey, files: dg14(active(plainSha256, 2)) },
  'small letters': { refusal: refusal.text, mrz: (mrz) => put(mrz, 5, mrz.slice(5, 10).toLowerCase()) },
  'identity card': { refusal: refusal.text, mrz: (mrz) => put(mrz, 0, 'I') },
  'no name': { refusal: refusal.text, mrz: (mrz) => put(mrz, 5, '<'.repeat(39)) },
  'a zone of three lines in one of two': {
    refusal: refusal.text,
    files: (files) => ({
      ...files,
      dg1: der.element(0x61, der.element([0x5f, 0x1f], files.dg1.subarray(5), Buffer.from('<<'))),
    }),
  },
  'another state': { refusal: refusal.signerUntrusted, mrz: (mrz) => recomposed(put(mrz, 2, 'QQQ')) },
  'number digit wrong': {
    refusal: refusal.number,
    mrz: (mrz) => recomposed(withOtherDigit(9)(mrz)),
  },
  'birth digit wrong': { refusal: refusal.birth, mrz: (mrz) => recomposed(withOtherDigit(19)(mrz)) },
  'born on no day': { refusal: refusal.birth, holder: (holder) => ({ ...holder, birth: '900230' }) },
  'sex of another letter': { refusal: refusal.sex, mrz: (mrz) => put(mrz, second + 20, 'Q') },
  'expiry digit wrong': { refusal: refusal.text, mrz: (mrz) => recomposed(withOtherDigit(27)(mrz)) },
  'expiry on no day': { refusal: refusal.text, holder: (holder) => ({ ...holder, expiry: '300231' }) },
  'whole digit wrong': { refusal: refusal.text, mrz: withOtherDigit(43) },
  'optional digit wrong': { refusal: refusal.text, mrz: (mrz) => recomposed(withOtherDigit(42)(mrz)) },
  expired: { refusal: refusal.expired, holder: (holder) => ({ ...holder, expiry: '190301' }) },
} as const satisfies Record<string, PassportSpoil>

/** Those that a signer of RSA can make. */
export const rsaSpoils = {
  'rubbish after the digest': {
    refusal: refusal.sodSignature,
    sod: (_, signer) => ({ sign: (message) => signWithRubbish(signer, message) }),
  },
  'one padding called the other': {
    refusal: refusal.sodSignature,
    sod: (_, { signature }) => ({
      signatureAlgorithm: signatureAlgorithm({
        ...signature,
        padding: signature.padding === 'pss' ? 'pkcs1' : 'pss',
      }),
    }),
  },
  'ECDSA by a key of RSA': {
    refusal: refusal.sodSignature,
    sod: (_, { signature }) => ({
      signatureAlgorithm: signatureAlgorithm({ ...signature, padding: 'ecdsa' }),
    }),
  },
  'a salt of none': {
    refusal: refusal.sodSignature,
    sod: (_, { signature }) => ({
      signatureAlgorithm: signatureAlgorithm({ ...signature, padding: 'pss' }, { saltBytes: 0 }),
    }),
  },
} as const satisfies Record<string, PassportSpoil>
