// Readings that forge, clone or choke, each named after where it happened to others, for a suite and its issuer. Each
// must be a no with its refusal.
import { createPublicKey } from 'node:crypto'
import { childrenOf, type Der, readDer, tags } from '../../src/base/der.ts'
import { readForward } from '../../src/base/der-cursor.ts'
import { refusal } from '../../src/card/refusal.ts'
import { parseSod, signedBytesOf } from '../../src/card/sod.ts'
import { type ChipContext, chipMessage } from '../../src/card/verdict.ts'
import { printSpki } from '../../src/pki/signing.ts'
import { derOfRaw } from '../../src/pki/suites.ts'
import { issueCard, readCard } from '../../src/simulator/cards.ts'
import { algorithm, bytesOf, integer, octets, planSod, printSod, sequence } from '../../src/simulator/sod.ts'
import { addEncodings, addFloods } from './attack-encodings.ts'
import {
  type Attack,
  der,
  explicitParameters,
  integerOf,
  type Kit,
  makeKit,
  numbersOf,
  otherForms,
  pairOf,
  rawOf,
} from './attack-kit.ts'
import { type CardWorld, holder } from './cards.ts'

function addConfusions(kit: Kit): void {
  const { signing, signer, signedMs, suite, other, good, planned, read, add } = kit
  const draft = 'draft-ietf-lamps-cms-euf-cma-signeddata'
  const parsed = parseSod(readForward(good.sod), suite)
  const attributes = signedBytesOf(parsed.attributes)
  add(
    'signedAttrs of another SOD given as its content, without signedAttrs',
    draft,
    refusal.sodProfile,
    read(
      planned(() => ({
        encapsulate: () => octets(attributes),
        attributes: () => [],
        sign: () => parsed.signature,
      })),
    ),
  )
  add(
    'content signed directly, presented with signedAttrs',
    draft,
    refusal.sodSignature,
    read(
      planned((plan) => {
        let content: Buffer<ArrayBufferLike> = Buffer.alloc(0)
        return {
          attributes(given) {
            content = given
            return plan.attributes(given)
          },
          sign: () => plan.sign(content),
        }
      }),
    ),
  )
  add(
    'the signature algorithm of the certificate, another in the SignerInfo',
    'algorithm confusion, as CVE-2015-9235 (JSON Web Tokens)',
    refusal.sodProfile,
    read(planned(() => ({ signatureAlgorithm: algorithm(other.signature) }))),
  )
  add(
    'a digest in the SignerInfo that the suite does not have',
    'algorithm confusion, as CVE-2015-9235 (JSON Web Tokens)',
    refusal.sodProfile,
    read(planned(() => ({ signerDigest: algorithm('1.3.14.3.2.26') }))),
  )
  add(
    'two SignerInfos, one of them right',
    'RFC 5652 section 5.1: which of them was meant is left to the reader',
    refusal.sodProfile,
    read(planned(() => ({ signers: 2 }))),
  )
  add(
    'a data group twice in the LDS',
    'the first checked, the last used, as CVE-2013-4787 (Android master key)',
    refusal.sodProfile,
    read(
      planned(({ lds }) => ({
        lds: { ...lds, hashes: [...lds.hashes, [15, suite.hash(printSpki(signing.makeKey()))]] },
      })),
    ),
  )
  const clone = issueCard(holder, signer, { signedMs })
  add('DG15 of another card, with its chip', 'ePassport clones (Grunwald, 2006)', refusal.dg15, (context) => {
    const own = readCard({ ...clone, sod: good.sod }, context)
    return { ...own, dg1: good.dg1, dg14: good.dg14 }
  })
  const foreignChip = { ...good, dg15: printSpki(other.makeKey()) }
  add(
    `a chip key of the other suite, signed for as DG15`,
    'suites mixed: PROTOCOL section 6',
    refusal.chipKey,
    read({ ...foreignChip, sod: printSod(planSod(foreignChip, signer, signedMs), signer) }),
  )
}

function addSigners(kit: Kit): void {
  const { signer, issuer, makeSigner, issuerOf, nowMs, planned, read, by, add } = kit
  const asCa = 'basicConstraints not looked at, as CVE-2002-0862 (Internet Explorer)'
  const below = makeSigner({ commonName: 'Below' }, signer)
  add('a signer made by a document signer', asCa, refusal.signerUntrusted, by(below))
  add('the CA itself as document signer', 'one key for two purposes', refusal.signerUntrusted, by(issuer))
  add(
    'a signer that is a CA too',
    'one key for two purposes',
    refusal.signerUsage,
    by(makeSigner({ spoil: { ca: true } })),
  )
  add(
    'a signer that had ended, with a signing time before',
    'backdated signatures of ended certificates (drivers, 2023)',
    refusal.signerTime,
    by(makeSigner({ spoil: { notAfterMs: nowMs - 1000 } })),
  )
  add(
    'a critical extension that nobody knows',
    'RFC 5280 section 4.2',
    refusal.signerUsage,
    by(makeSigner({ spoil: { unknownCritical: true } })),
  )
  const ends = 'a chain checked only at its ends, as CVE-2008-4989 (GnuTLS)'
  const namesake = issuerOf('Test card issuer')
  const middle = makeSigner({ commonName: 'Middle', spoil: { ca: true, keyUsage: ['keyCertSign'] } })
  add('a signer by a CA below the anchor', ends, refusal.signerUntrusted, by(makeSigner({}, middle)))
  add('a signer by a CA with the anchor’s name', ends, refusal.signerUntrusted, by(makeSigner({}, namesake)))
  const chained = makeSigner({}, middle)
  add(
    'a whole chain in the SOD, the anchor’s child at its end',
    ends,
    refusal.sodProfile,
    read(planned(() => ({ certificates: [chained.certificateDer, middle.certificateDer] }), chained)),
  )
  const [, , bits] = childrenOf(readDer(signer.certificateDer), tags.sequence)
  const bare = childrenOf(readDer(makeSigner({}, namesake).certificateDer), tags.sequence) as [Der, Der, Der]
  add(
    'another’s certificate with the signature of a good one',
    ends,
    refusal.signerUntrusted,
    read(
      planned(() => ({ certificates: [der(tags.sequence, bare[0].raw, bare[1].raw, (bits as Der).raw)] }), {
        ...signer,
        certificateDer: der(tags.sequence, bare[0].raw, bare[1].raw, (bits as Der).raw),
      }),
    ),
  )
}

function addNumbers(kit: Kit): void {
  const { signing, signer, suite, good, n, planned, read, add } = kit
  const psychic = 'CVE-2022-21449 (Java, psychic signatures)'
  const range = 'numbers outside 1..n-1, as CVE-2024-48949 (elliptic)'
  const sod = (name: string, after: string, change: (r: bigint, s: bigint) => Buffer) =>
    add(
      `SOD signature: ${name}`,
      after,
      refusal.sodSignature,
      read(planned(({ sign }) => ({ sign: (message) => change(...numbersOf(sign(message))) }))),
    )
  const chip = (name: string, after: string, change: (r: bigint, s: bigint) => Buffer) =>
    add(`chip signature: ${name}`, after, refusal.chipSignature, (context) => {
      const reading = readCard(good, context)
      const chipSignature = change(...numbersOf(derOfRaw(reading.chipSignature)))
      return { ...reading, chipSignature }
    })
  sod('r and s of 0', psychic, () => pairOf(0n, 0n))
  sod('r of 0', psychic, (_, s) => pairOf(0n, s))
  sod('s of 0', psychic, (r) => pairOf(r, 0n))
  sod('r and s of n', psychic, () => pairOf(n, n))
  sod('r of n', range, (_, s) => pairOf(n, s))
  sod('s of n', range, (r) => pairOf(r, n))
  sod('r + n', range, (r, s) => pairOf(r + n, s))
  sod('s + n', range, (r, s) => pairOf(r, s + n))
  sod('negative r', range, (r, s) =>
    der(tags.sequence, der(tags.integer, Buffer.from((r | (1n << 255n)).toString(16), 'hex')), integerOf(s)),
  )
  chip('r and s of 0', psychic, () => rawOf(0n, 0n))
  chip('r of 0', psychic, (_, s) => rawOf(0n, s))
  chip('s of 0', psychic, (r) => rawOf(r, 0n))
  chip('r and s of n', psychic, () => rawOf(n, n))
  chip('r of n', range, (_, s) => rawOf(n, s))
  chip('s of n', range, (r) => rawOf(r, n))
  chip('r and s turned about', range, (r, s) => rawOf(s, r))
  add('certificate signature: r and s of 0', psychic, refusal.signerUntrusted, () => {
    const [tbs, id] = childrenOf(readDer(signer.certificateDer), tags.sequence) as [Der, Der]
    const zero = der(tags.bitString, Buffer.of(0), bytesOf(sequence(integer(0), integer(0))))
    const certificateDer = der(tags.sequence, tbs.raw, id.raw, zero)
    return readCard(
      planned(() => ({}), { ...signer, certificateDer }),
      anyContext,
    )
  })
  add(
    'chip signature over the hash of another SOD',
    'a signature that does not bind what it is shown with',
    refusal.chipSignature,
    (context) => {
      const message = chipMessage(context, suite.hash(Buffer.from('another SOD')))
      return { ...readCard(good, context), chipSignature: signing.signRaw(good.chipKey, message) }
    },
  )
}

function addKeys(kit: Kit): void {
  const { signer, makeSigner, signedMs, other, good, read, by, add } = kit
  const point = printSpki(good.chipKey).subarray(-65)
  const head = printSpki(good.chipKey).subarray(0, -65)
  const invalidCurve = 'points that were not checked, as CVE-2015-7940 (Bouncy Castle)'
  for (const [about, form] of otherForms(point)) {
    const dg15 = form.length === 65 ? Buffer.concat([head, form]) : spkiOf(form)
    const files = { ...good, dg15 }
    const card = { ...files, sod: printSod(planSod(files, signer, signedMs), signer) }
    add(`chip key: ${about}`, invalidCurve, refusal.chipKey, read(card))
  }
  for (const [about, form] of otherForms(
    createPublicKey(signer.privateKey).export({ format: 'der', type: 'spki' }).subarray(-65),
  )) {
    add(
      `signer key: ${about}`,
      invalidCurve,
      refusal.signerUsage,
      by(makeSigner({ spoil: { spki: { point: form } } })),
    )
  }
  const curveBall = 'CVE-2020-0601 (CurveBall)'
  const explicit = explicitParameters(good.chipKey)
  const files = { ...good, dg15: der(tags.sequence, explicit, der(tags.bitString, Buffer.of(0), point)) }
  add(
    'chip key: a curve of its own, spelled out',
    curveBall,
    refusal.chipKey,
    read({ ...files, sod: printSod(planSod(files, signer, signedMs), signer) }),
  )
  add(
    'signer key: a curve of its own, spelled out',
    curveBall,
    refusal.signerUsage,
    by(makeSigner({ spoil: { spki: { algorithm: explicit } } })),
  )
  const wrongCurve = der(
    tags.sequence,
    Buffer.from('06072a8648ce3d0201', 'hex'),
    Buffer.from('06052b8104000a', 'hex'),
  )
  add(
    'signer key: secp256k1 named',
    curveBall,
    refusal.signerUsage,
    by(makeSigner({ spoil: { spki: { algorithm: wrongCurve } } })),
  )
  const otherSuite = der(
    tags.sequence,
    Buffer.from('06072a8648ce3d0201', 'hex'),
    readDer(printSpki(other.makeKey())).split()[0]?.split()[1]?.raw ?? Buffer.alloc(0),
  )
  add(
    'signer key: the curve of the other suite named',
    'suites mixed: PROTOCOL section 6',
    refusal.signerUsage,
    by(makeSigner({ spoil: { spki: { algorithm: otherSuite } } })),
  )
  add('signer of the other suite', 'suites mixed: PROTOCOL section 6', refusal.sodProfile, (context) => {
    const foreign = makeSigner({ signing: other })
    const sod = issueCard(holder, foreign, { signedMs }).sod
    return readCard({ ...good, sod }, context)
  })
  function spkiOf(form: Buffer): Buffer {
    const [id] = childrenOf(readDer(printSpki(good.chipKey)), tags.sequence) as [Der]
    return der(tags.sequence, id.raw, der(tags.bitString, Buffer.of(0), form))
  }
}

const makers = [addConfusions, addEncodings, addSigners, addNumbers, addKeys, addFloods]

export function makeAttacks(world: CardWorld): Attack[] {
  const kit = makeKit(world)
  for (const make of makers) make(kit)
  return kit.attacks
}

const anyContext: ChipContext = {
  challenge: Buffer.alloc(42),
  device: Buffer.alloc(16),
  parcel: Buffer.alloc(32),
  carrier: 'swift-crane',
}
