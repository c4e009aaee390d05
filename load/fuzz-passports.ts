// Bent readings of passports, as fuzz-cards.ts has them for cards: EF.SOD, certificate, files and chip, signed again half
// of the time.
import { dayMs } from '../src/base/clock.ts'
import { readDer } from '../src/base/der.ts'
import { checkSigned, hashWith } from '../src/card/passport/algorithms.ts'
import { createPassportVerifier } from '../src/card/passport/check.ts'
import { parseAttributes, parseEfSod } from '../src/card/passport/ef-sod.ts'
import { importPassportKey, type PassportKey } from '../src/card/passport/keys.ts'
import { loadCsca, type PassportTrust, parsePassportList } from '../src/card/passport/trust.ts'
import { parseReading, printReading, type Reading } from '../src/card/reading.ts'
import { signedBytesOf } from '../src/card/sod.ts'
import type { CardVerdict } from '../src/card/verdict.ts'
import {
  type KeyKind,
  makePassportSigner,
  makeState,
  makeStateList,
  type PassportSigner,
  type Signature,
  spkiOf,
} from '../src/simulator/csca.ts'
import { planEfSod, printEfSod } from '../src/simulator/ef-sod.ts'
import { issuePassport, type Passport, readPassport } from '../src/simulator/passports.ts'
import { bendBytes, bentTree, type Case, context, nowMs, outcomeOf, type Subject } from './fuzz-cards.ts'
import { printTree } from './fuzz-tree.ts'

const holder = {
  ...{ state: 'UTO', number: 'U12345678', name: 'HALVORSDATTER<<IMOGEN<TUVA' },
  ...{ birth: '900307', sex: 'F' as const, expiry: '310904' },
}
const signedMs = nowMs - dayMs

type World = { passport: Passport; signer: PassportSigner; key: PassportKey }

function makeWorld(kind: { key: KeyKind; signature: Signature }) {
  const life = { fromMs: nowMs - 400 * dayMs, toMs: nowMs + 400 * dayMs }
  const state = makeState({ state: 'UTO', country: 'UT', ...life, ...kind })
  const signer = makePassportSigner(state, { ...kind, ...life })
  const anchor = loadCsca(state.certificateDer, 'UTO')
  const list = parsePassportList(makeStateList(state, life), [anchor])
  const newTrust = (): PassportTrust => ({ anchors: [anchor], notAfterMs: nowMs + dayMs, listOf: () => list })
  let trust = newTrust()
  const verify = createPassportVerifier({ trust: () => trust })
  const forget = () => {
    trust = newTrust()
  }
  const world: World = {
    ...{ signer, passport: issuePassport(holder, signer, { signedMs }) },
    key: importPassportKey(spkiOf(signer.key)) as PassportKey,
  }
  return { world, verify, forget }
}

/** A file bent before its issuer signs, or after. */
function bendFile({ passport, signer }: World, given: Case): Passport {
  const files = { ...passport }
  if (given.target === 'record') files.dg1 = bendBytes(files.dg1, given)
  else if (given.resign) files.dg15 = printTree(bentTree(files.dg15, given))
  else files.dg14 = bendBytes(files.dg14, given)
  if (given.resign) files.sod = printEfSod(planEfSod(files, signer, { signedMs }))
  return files
}

/** Undefined where row 6 stops it. */
function readingOf(world: World, given: Case): Reading | undefined {
  const { passport } = world
  if (given.target === 'reading') {
    return parseReading(bendBytes(printReading(readPassport(passport, context)), given))
  }
  const isFile = given.target === 'record' || given.target === 'chip'
  const bent = isFile
    ? bendFile(world, given)
    : { ...passport, sod: printTree(bentTree(passport.sod, given)) }
  return readPassport(bent, context)
}

/** A passport that is found right: its signer signed the hash of each file. The chip's answer is not looked at again. */
function assertEarned({ key }: World, { sod, dg1, dg15 }: Reading): void {
  const { content, digest, fileDigest, scheme, attributes, signature } = parseEfSod(readDer(sod))
  for (const file of [dg1, dg15]) {
    if (!content.includes(hashWith(fileDigest, file)))
      throw new Error('a file is not the one that was signed for')
  }
  const { messageDigest } = parseAttributes(attributes)
  const isSigned = checkSigned(signedBytesOf(attributes), signature, { scheme, key })
  if (!isSigned || !messageDigest.equals(hashWith(digest, content))) {
    throw new Error('a passport was found right that nobody signed')
  }
}

export function makePassportSubjects(): Subject[] {
  const kinds: { key: KeyKind; signature: Signature }[] = [
    { key: { curve: 'P-256' }, signature: { padding: 'ecdsa', hash: 'sha256' } },
    { key: { bits: 2048 }, signature: { padding: 'pss', hash: 'sha256' } },
  ]
  return kinds.map(makeWorld).map(({ world, verify, forget }) => ({
    forget,
    run(given) {
      const reading = readingOf(world, given)
      if (!reading) return 'row 6'
      return outcomeOf(
        () => verify(reading, { context, nowMs }) as CardVerdict,
        () => assertEarned(world, reading),
      )
    },
  }))
}
