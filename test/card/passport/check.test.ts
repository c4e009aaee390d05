// Rows 7-12 for passports: a good one of each algorithm is right, every spoiled one comes to its refusal, and no
// altered bit passes.
import { createHash, generateKeyPairSync } from 'node:crypto'
import t, { type Test } from 'tap'
import { dayMs } from '../../../src/base/clock.ts'
import { GatewayError } from '../../../src/base/errors.ts'
import { createPassportVerifier } from '../../../src/card/passport/check.ts'
import { parseReading, printReading, type Reading } from '../../../src/card/reading.ts'
import { refusal } from '../../../src/card/refusal.ts'
import {
  type KeyKind,
  makeKey,
  type Signature,
  type SignerWish,
  spkiOf,
} from '../../../src/simulator/csca.ts'
import { passportReadingSpoils, rsaReadingSpoils } from '../../../src/simulator/passport-reading-spoils.ts'
import { type PassportSpoil, passportSpoils, rsaSpoils } from '../../../src/simulator/passport-spoils.ts'
import { issuePassport, type PassportOptions, readPassport } from '../../../src/simulator/passports.ts'
import { context, nowMs, signedMs } from '../../helpers/cards.ts'
import { checkPassportOnce, holder, life, signerOf, stateOf, trustIn } from '../../helpers/passports.ts'

const state = stateOf()
const signer = signerOf(state)
const trust = trustIn([state, {}])
const issue = (options: PassportOptions = {}) => issuePassport(holder, signer, { signedMs, ...options })
const passport = issue()
const good = readPassport(passport, context)

t.test('a good passport gives the person as bureau and cache want it', async (t) => {
  const verdict = checkPassportOnce(good, trust)
  t.match(verdict, {
    refusal: 0,
    card: {
      docType: 'P',
      state: 'UTO',
      number: holder.number,
      name: holder.name,
      validTo: '20310904',
    },
  })
  const serial = createHash('sha256')
    .update(
      Buffer.concat([
        Buffer.from('vouchsafe/passport-serial/v1\0'),
        Buffer.from('\x01\0\x03UTO\x02\0\x09U12345678'),
      ]),
    )
    .digest()
    .subarray(0, 16)
  if ('card' in verdict) t.same(verdict.card.serial, serial)
})

const algorithms: [key: KeyKind, signature: Signature][] = [
  [{ bits: 2048 }, { padding: 'pkcs1', hash: 'sha256' }],
  [{ bits: 3072 }, { padding: 'pkcs1', hash: 'sha512' }],
  [{ bits: 2048 }, { padding: 'pss', hash: 'sha256' }],
  [{ bits: 3072 }, { padding: 'pss', hash: 'sha384' }],
  [{ bits: 4096 }, { padding: 'pss', hash: 'sha512' }],
  [{ curve: 'P-384' }, { padding: 'ecdsa', hash: 'sha384' }],
  [{ curve: 'P-521' }, { padding: 'ecdsa', hash: 'sha512' }],
  [{ curve: 'brainpoolP256r1' }, { padding: 'ecdsa', hash: 'sha256' }],
  [
    { curve: 'brainpoolP384r1', explicit: true },
    { padding: 'ecdsa', hash: 'sha384' },
  ],
  [
    { curve: 'brainpoolP512r1', explicit: true },
    { padding: 'ecdsa', hash: 'sha512' },
  ],
  [
    { curve: 'P-256', explicit: true },
    { padding: 'ecdsa', hash: 'sha256' },
  ],
  [
    { curve: 'P-521', explicit: true },
    { padding: 'ecdsa', hash: 'sha256' },
  ],
]
const chips: (KeyKind & { hash?: 'sha256' | 'sha384' | 'sha512' })[] = [
  { bits: 2048 },
  { bits: 2048, hash: 'sha384' },
  { bits: 3072, hash: 'sha512' },
  { curve: 'P-256' },
  { curve: 'P-384', hash: 'sha384' },
  { curve: 'P-521', hash: 'sha512' },
  { curve: 'brainpoolP256r1', explicit: true },
  { curve: 'brainpoolP384r1', hash: 'sha256' },
  { curve: 'brainpoolP512r1', hash: 'sha512' },
]
const told = (kind: object) => Object.values(kind).join(' ')

for (const [i, [key, signature]] of algorithms.entries()) {
  const chip = chips[i % chips.length] as KeyKind
  t.test(`a state in ${told(key)} ${told(signature)}, chip ${told(chip)}`, async (t) => {
    const by = stateOf({ key, signature })
    const own = signerOf(by, { key, signature })
    const options: PassportOptions[] = [
      { chip, signedMs },
      { chip, ldsVersion: 1, names: 'key', ldsHash: 'sha384', moreDigests: ['sha384'] },
    ]
    for (const option of options) {
      const plain = printReading(readPassport(issuePassport(holder, own, option), context))
      t.equal(plain.length, 4096)
      const reading = parseReading(plain) as Reading
      t.equal(checkPassportOnce(reading, trustIn([by, {}])).refusal, 0)
    }
  })
}

t.test('a passport card with three lines and a long number', async (t) => {
  const long = { ...holder, number: 'D2314589Z07' }
  for (const one of [holder, long]) {
    const reading = readPassport(issuePassport(one, signer, { form: 'td1' }), context)
    t.match(checkPassportOnce(parseReading(printReading(reading)) as Reading, trust), {
      refusal: 0,
      card: { number: one.number },
    })
  }
})

t.test('Germany is DEU, whatever letter its zone has', async (t) => {
  const by = stateOf({ state: 'DEU', country: 'DE' })
  const reading = readPassport(issuePassport({ ...holder, state: 'D' }, signerOf(by)), context)
  t.match(checkPassportOnce(reading, trustIn([by, {}])), { refusal: 0, card: { state: 'DEU' } })
})

function refusedAs(t: Test, reading: Reading, expected: number, by = trust, at = nowMs) {
  const verdict = checkPassportOnce(reading, by, at)
  t.equal(verdict.refusal, expected)
  t.notOk('card' in verdict, 'no verified card')
  t.equal(
    'person' in verdict,
    expected >= refusal.birth,
    'named only where rows 7-11, text and number passed',
  )
}

for (const [name, spoil] of Object.entries<PassportSpoil>(passportSpoils)) {
  t.test(`a passport with "${name}" is refused as R${spoil.refusal}`, async (t) => {
    refusedAs(t, readPassport(issue({ spoil }), context), spoil.refusal)
  })
}
for (const [name, spoil] of Object.entries(passportReadingSpoils)) {
  t.test(`a reading with "${name}" is refused as R${spoil.refusal}`, async (t) => {
    refusedAs(t, readPassport(passport, context, spoil), spoil.refusal)
  })
}

t.test('what only keys of RSA can forge', async (t) => {
  const key = makeKey({ bits: 2048 })
  for (const padding of ['pkcs1', 'pss'] as const) {
    const own = signerOf(state, { key, signature: { padding, hash: 'sha256' } })
    t.equal(checkPassportOnce(readPassport(issuePassport(holder, own), context), trust).refusal, 0)
    for (const [name, spoil] of Object.entries<PassportSpoil>(rsaSpoils)) {
      t.test(`${name}, signed as ${padding}`, async (t) => {
        refusedAs(t, readPassport(issuePassport(holder, own, { spoil }), context), spoil.refusal)
      })
    }
  }
  const chipped = issue({ chipKey: key })
  t.equal(checkPassportOnce(readPassport(chipped, context), trust).refusal, 0)
  for (const [name, spoil] of Object.entries(rsaReadingSpoils)) {
    t.test(`active authentication with "${name}"`, async (t) => {
      refusedAs(t, readPassport(chipped, context, spoil), spoil.refusal)
    })
  }
  t.test('a number that is not below the modulus', async (t) => {
    const reading = readPassport(chipped, context)
    refusedAs(t, { ...reading, chipSignature: Buffer.alloc(256, 0xff) }, refusal.chipSignature)
  })
})

t.test('files of two passports', async (t) => {
  const other = readPassport(issuePassport({ ...holder, number: 'U87654321' }, signer), context)
  const { dg1, dg14, dg15, sod } = other
  refusedAs(t, { ...good, dg1 }, refusal.dg1)
  refusedAs(t, { ...good, dg15 }, refusal.dg15)
  refusedAs(t, { ...good, dg1, dg14, dg15, sod }, refusal.chipSignature)
})

t.test('signers that may not', async (t) => {
  const foreign = stateOf({ state: 'QAA', country: 'QA' })
  const both = trustIn([state, {}], [foreign, {}])
  const namesake = stateOf()
  const spoiled: [about: string, wish: Partial<SignerWish>, refusal: number][] = [
    ['of another country in its own name', { country: 'QA' }, refusal.signerUntrusted],
    ['that is a CA', { ca: true }, refusal.signerUsage],
    ['that signs master lists', { extKeyUsage: '2.23.136.1.1.3' }, refusal.signerUsage],
    ['for other uses too', { usageByte: 0xc0 }, refusal.signerUsage],
    ['of identity cards', { documentTypes: ['I', 'ID'] }, refusal.signerUntrusted],
    ['that has ended', { toMs: nowMs - dayMs }, refusal.signerTime],
    ['that has not begun', { fromMs: nowMs + dayMs }, refusal.signerTime],
    ['whose use ended before', { usage: { fromMs: 0, toMs: signedMs - dayMs } }, refusal.signerTime],
    ['with a key of 1024 bits', { spki: smallKey() }, refusal.signerUsage],
  ]
  for (const [about, wish, expected] of spoiled) {
    t.test(`a signer ${about}`, async (t) => {
      const own = signerOf(state, wish)
      refusedAs(t, readPassport(issuePassport(holder, own, { signedMs }), context), expected, both)
    })
  }
  const by = (own = signer, trusted = both, at = nowMs) => ({
    reading: readPassport(issuePassport(holder, own, { signedMs }), context),
    trusted,
    at,
  })
  const revoked = signerOf(state)
  const ended = stateOf({ toMs: nowMs - 1 })
  const cases: [string, ReturnType<typeof by>, number][] = [
    ['of another state’s CSCA', by(signerOf(foreign)), refusal.signerUntrusted],
    ['of a CSCA of the same name', by(signerOf(namesake)), refusal.signerUntrusted],
    ['that is the CSCA', by({ ...state }), refusal.signerUsage],
    ['that is revoked', by(revoked, trustIn([state, { revoked: [revoked] }])), refusal.signerRevoked],
    ['of a CSCA that has ended', by(signerOf(ended), trustIn([ended, {}])), refusal.signerTime],
    ['that signed tomorrow', by(signer, both, signedMs - dayMs), refusal.signerTime],
  ]
  for (const [about, { reading, trusted, at }, expected] of cases) {
    t.test(`a signer ${about}`, async (t) => {
      const lists = at === nowMs ? trusted : trustIn([state, { fromMs: life.fromMs, toMs: life.toMs }])
      refusedAs(t, reading, expected, lists, at)
    })
  }
  t.test('documents that it is for', async (t) => {
    const own = signerOf(state, { documentTypes: ['P', 'PD'], usage: { fromMs: 0, toMs: nowMs } })
    t.equal(checkPassportOnce(by(own).reading, both).refusal, 0)
  })
})

function smallKey(): Buffer {
  return spkiOf(generateKeyPairSync('rsa', { modulusLength: 1024 }).privateKey)
}

t.test('what is trusted must be known to be so now', async (t) => {
  const stale = (trusted: ReturnType<typeof trustIn>, reason: string) =>
    t.throws(() => checkPassportOnce(good, trusted), new GatewayError('trust_stale', reason))
  stale(trustIn([state, undefined]), 'no_list')
  stale(trustIn([state, { toMs: nowMs - 1 }]), 'list_not_fresh')
  stale({ ...trust, notAfterMs: nowMs - 1 }, 'anchors_ended')
})

t.test('a signer that is remembered is looked at all the same', async (t) => {
  let trusted = trust
  const check = createPassportVerifier({ trust: () => trusted })
  const at = async (ms = nowMs, reading = good) => (await check(reading, { context, nowMs: ms })).refusal
  t.equal(await at(), 0)
  t.equal(await at(), 0, 'again')
  t.equal(await at(nowMs, readPassport(issue({ spoil: passportSpoils['forged signature'] }), context)), 9)
  t.throws(
    () => check(good, { context, nowMs: nowMs + 2 * dayMs }),
    new GatewayError('trust_stale', 'list_not_fresh'),
  )
  trusted = trustIn([state, { revoked: [signer] }])
  t.equal(await at(), refusal.signerRevoked)
  trusted = trustIn([stateOf({ state: 'QAA', country: 'QA' }), {}])
  t.equal(await at(), refusal.signerUntrusted)
})

t.test('no bit of a passport may be another, though its own chip signs for what is altered', async (t) => {
  const check = createPassportVerifier({ trust: () => trust })
  for (const field of ['sod', 'dg1', 'dg14', 'dg15'] as const) {
    for (let bit = 0; bit < passport[field].length * 8; bit++) {
      const altered = Buffer.from(passport[field])
      altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      const verdict = await check(readPassport({ ...passport, [field]: altered }, context), {
        context,
        nowMs,
      })
      if (verdict.refusal === 0) t.fail(`bit ${bit} of ${field}`)
    }
  }
  const { chipSignature } = good
  for (let bit = 0; bit < chipSignature.length * 8; bit++) {
    const altered = Buffer.from(chipSignature)
    altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
    const verdict = await check({ ...good, chipSignature: altered }, { context, nowMs })
    if (verdict.refusal !== refusal.chipSignature) t.fail(`bit ${bit} of the chip's signature`)
  }
  for (let end = 0; end < good.sod.length; end++) {
    const cut = { ...good, sod: good.sod.subarray(0, end) }
    if ((await check(cut, { context, nowMs })).refusal !== refusal.sodParse) t.fail(`cut at ${end}`)
  }
  t.pass('all refused')
})

t.test('nor a bit of one in RSA-PSS, tried once in each byte', async (t) => {
  const rsa = { key: { bits: 2048 }, signature: { padding: 'pss', hash: 'sha256' } } as const
  const by = stateOf(rsa)
  const own = issuePassport(holder, signerOf(by, rsa), { signedMs, ldsVersion: 1, names: 'key' })
  const trusted = trustIn([by, {}])
  const check = createPassportVerifier({ trust: () => trusted })
  const at = async (sod: Buffer) =>
    (await check(readPassport({ ...own, sod }, context), { context, nowMs })).refusal
  t.equal(await at(own.sod), 0)
  for (let i = 0; i < own.sod.length; i++) {
    const altered = Buffer.from(own.sod)
    altered.writeUInt8(altered.readUInt8(i) ^ (1 << (i % 8)), i)
    if ((await at(altered)) === 0) t.fail(`byte ${i}`)
  }
})
