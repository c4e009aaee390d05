// Rows 7-12, run in each suite: a good card is right, every spoiled one comes to its refusal, and no altered byte passes.
import type { Test } from 'tap'
import type { Spoil as SignerSpoil } from '../../certs/card-issuer.ts'
import { dayMs } from '../../src/base/clock.ts'
import { GatewayError } from '../../src/base/errors.ts'
import { parseReading, printReading, type Reading } from '../../src/card/reading.ts'
import { refusal } from '../../src/card/refusal.ts'
import type { CardTrust } from '../../src/pki/anchors.ts'
import {
  type CardHolder,
  type CardSpoil,
  cardSpoils,
  type DocumentSigner,
  issueCard,
  type ReadingSpoil,
  readCard,
  readingSpoils,
} from '../../src/simulator/cards.ts'
import {
  type CardWorld,
  checkOnce,
  context,
  holder,
  makeTrust,
  nowMs,
  numberOf,
  signedMs,
} from '../helpers/cards.ts'

export function testCardChecks(t: Test, world: CardWorld): void {
  const { issuer, issuerOf, makeCrl, makeSigner, revokedSigner, signer, trust, trustIn } = world
  const check = (reading: Reading, at = nowMs, by: CardTrust = trust) =>
    checkOnce(reading, { context, trust: by, nowMs: at })
  const issue = (
    options: { spoil?: CardSpoil; by?: DocumentSigner; of?: Partial<CardHolder>; at?: number } = {},
  ) =>
    issueCard({ ...holder, ...options.of }, options.by ?? signer, {
      signedMs: options.at ?? signedMs,
      ...(options.spoil ? { spoil: options.spoil } : {}),
    })
  const goodCard = issue()
  const good = readCard(goodCard, context)
  const seen = new Set<number>()

  function refusedAs(t: Test, reading: Reading, expected: number) {
    const verdict = check(reading)
    t.equal(verdict.refusal, expected)
    t.notOk('card' in verdict, 'no verified card')
    const named = 'person' in verdict
    t.equal(
      named,
      expected >= refusal.birth,
      'the person is named only where rows 7-11, text and number passed',
    )
    seen.add(verdict.refusal)
  }

  t.test('a good card gives the person as bureau and cache want it', async (t) => {
    const verdict = check(good)
    t.same(verdict, {
      refusal: 0,
      card: {
        docType: 'ID',
        state: 'CHN',
        number: holder.number,
        name: holder.name,
        serial: holder.serial,
        validTo: '20400101',
      },
    })
  })

  t.test('long-term validity, x for X and a name not in NFC come out in their one form', async (t) => {
    const numbers = ['001', '003', '005', '007', '009', '011', '013', '015', '017', '019', '021', '023']
    const number = numbers.map((n) => numberOf(`78000219880101${n}`)).find((n) => n.endsWith('X')) ?? ''
    const of = {
      number: number.replace('X', 'x'),
      birth: '19880101',
      sex: '1',
      name: 'Zoe\u0301 Abcd',
      validTo: '长期',
    } as const
    const verdict = check(readCard(issue({ of }), context))
    if (!('card' in verdict)) return t.fail(`refused as ${verdict.refusal}`)
    t.match(verdict.card, { number, name: 'Zo\u00e9 Abcd', validTo: '99991231' })
  })

  for (const [spoil, row] of Object.entries(cardSpoils)) {
    t.test(`a card with "${spoil}" is refused as R${row.refusal}`, async (t) => {
      refusedAs(t, readCard(issue({ spoil: spoil as CardSpoil }), context), row.refusal)
    })
  }

  for (const [spoil, row] of Object.entries(readingSpoils)) {
    t.test(`a reading with "${spoil}" is refused as R${row.refusal}`, async (t) => {
      refusedAs(t, readCard(goodCard, context, spoil as ReadingSpoil), row.refusal)
    })
  }

  const foreign = issuerOf('Foreign issuer')
  // Same name as the anchor, another key: only the signature and the key identifier tell.
  const namesake = issuerOf('Test card issuer')
  const late = { usageNotBeforeMs: signedMs - 9 * dayMs, usageNotAfterMs: signedMs - dayMs }
  const spoiled = (spoil: Partial<SignerSpoil>) => makeSigner({ spoil })
  const signers: [about: string, signer: DocumentSigner, refusal: number][] = [
    ['of a foreign issuer', makeSigner({}, foreign), refusal.signerUntrusted],
    ['of an issuer with the name of ours', makeSigner({}, namesake), refusal.signerUntrusted],
    ['signed by another key', spoiled({ otherSigningKey: true }), refusal.signerUntrusted],
    ['self-signed by the issuer itself', issuer, refusal.signerUntrusted],
    ['whose period had ended', makeSigner(late), refusal.signerTime],
    ['whose period had not begun', makeSigner({ usageNotBeforeMs: signedMs + dayMs }), refusal.signerTime],
    ['without a period', spoiled({ noUsagePeriod: true }), refusal.signerTime],
    ['whose certificate has ended', spoiled({ notAfterMs: nowMs - dayMs }), refusal.signerTime],
    ['whose certificate has not begun', makeSigner({ notBeforeMs: nowMs + dayMs }), refusal.signerTime],
    ['that was revoked after it signed', revokedSigner, refusal.signerRevoked],
    ['that is a CA', spoiled({ ca: true }), refusal.signerUsage],
    ['without basicConstraints', spoiled({ noBasicConstraints: true }), refusal.signerUsage],
    [
      'with another usage too',
      spoiled({ keyUsage: ['digitalSignature', 'nonRepudiation'] }),
      refusal.signerUsage,
    ],
    ['for another usage', spoiled({ keyUsage: ['keyCertSign'] }), refusal.signerUsage],
    ['without keyUsage', spoiled({ noKeyUsage: true }), refusal.signerUsage],
    ['with an extKeyUsage', spoiled({ extKeyUsage: '1.3.6.1.5.5.7.3.2' }), refusal.signerUsage],
    ['with an unknown critical extension', spoiled({ unknownCritical: true }), refusal.signerUsage],
  ]
  for (const [about, by, expected] of signers) {
    t.test(`a card by a signer ${about} is refused as R${expected}`, async (t) => {
      refusedAs(t, readCard(issue({ by }), context), expected)
    })
  }

  t.test('every refusal number of rows 7-12 was seen', async (t) => {
    t.same(
      [...seen].sort((a, b) => a - b),
      Object.values(refusal),
    )
  })

  t.test('the first failure in the order of rows sets the refusal', async (t) => {
    const both = {
      ...readCard(issue({ spoil: 'expired', by: revokedSigner }), context),
      chipSignature: Buffer.alloc(64),
    }
    t.equal(check(both).refusal, refusal.signerRevoked)
    const expired = readCard(issue({ spoil: 'expired' }), context)
    t.equal(check({ ...expired, chipSignature: Buffer.alloc(64) }).refusal, refusal.chipSignature)
  })

  t.test('a card is valid from the first to the end of the last day in Shanghai', async (t) => {
    const reading = readCard(issue({ of: { validFrom: '20261124', validTo: '20261124' } }), context)
    const midnight = Date.UTC(2026, 10, 23, 16)
    t.equal(check(reading, midnight).refusal, 0)
    t.equal(check(reading, midnight + dayMs - 1).refusal, 0)
    t.equal(check(reading, midnight - 1).refusal, refusal.notYetValid)
    const until = trustIn([[issuer, makeCrl(issuer, { nextUpdateMs: nowMs + 9 * dayMs })]])
    t.equal(check(reading, midnight + dayMs, until).refusal, refusal.expired)
  })

  t.test('signing time: the ends of the period count, a second more does not', async (t) => {
    const by = makeSigner({ usageNotBeforeMs: signedMs, usageNotAfterMs: signedMs + dayMs })
    const at = (ms: number) => check(readCard(issue({ by, at: ms }), context)).refusal
    t.equal(at(signedMs), 0)
    t.equal(at(signedMs + dayMs), 0)
    t.equal(at(signedMs - 1000), refusal.signerTime)
    t.equal(at(signedMs + dayMs + 1000), refusal.signerTime)
    const then = trustIn([[issuer, makeCrl(issuer, { thisUpdateMs: signedMs - dayMs })]])
    t.equal(check(good, signedMs, then).refusal, 0, 'signed this very moment')
    t.equal(check(good, signedMs - 1, then).refusal, refusal.signerTime, 'signed in the future')
  })

  t.test('without a fresh list of the signer’s issuer we cannot decide', async (t) => {
    const stale = trustIn([[issuer, makeCrl(issuer, { nextUpdateMs: nowMs - 1000 })]])
    t.throws(() => check(good, nowMs, stale), new GatewayError('trust_stale', 'list_not_fresh'))
    const unlisted = trustIn([
      [issuer, undefined],
      [foreign, makeCrl(foreign)],
    ])
    t.throws(() => check(good, nowMs, unlisted), new GatewayError('trust_stale', 'no_list'))
    const unsigned = readCard(issue({ spoil: 'trailing byte' }), context)
    t.equal(check(unsigned, nowMs, stale).refusal, refusal.sodParse, 'row 7 comes before')
    const untrusted = readCard(issue({ by: makeSigner({}, foreign) }), context)
    t.equal(check(untrusted, nowMs, stale).refusal, refusal.signerUntrusted, 'no list makes it trusted')
  })

  t.test('an issuer whose own certificate has ended, or not begun, vouches for no card', async (t) => {
    const [anchor] = trust.anchors
    const list = anchor && trust.listOf(anchor)
    if (!anchor || !list) return t.fail('no trust')
    for (const life of [{ notAfterMs: nowMs - 1 }, { notBeforeMs: nowMs + 1 }]) {
      const ended = makeTrust([{ anchor: { ...anchor, ...life }, list }])
      t.equal(check(good, nowMs, ended).refusal, refusal.signerTime)
    }
  })

  t.test('anchors that have ended decide nothing, not even a no', async (t) => {
    const ended = { ...trust, notAfterMs: nowMs - 1 }
    t.throws(() => check(good, nowMs, ended), new GatewayError('trust_stale', 'anchors_ended'))
    t.equal(check(good, nowMs - 1, ended).refusal, 0, 'and until then they do')
    const untrusted = readCard(issue({ by: makeSigner({}, foreign) }), context)
    t.throws(() => check(untrusted, nowMs, ended), new GatewayError('trust_stale', 'anchors_ended'))
  })

  t.test('a signer of the second anchor is trusted, one of a third is not', async (t) => {
    const both = trustIn([
      [issuer, makeCrl()],
      [foreign, makeCrl(foreign)],
    ])
    t.equal(check(readCard(issue({ by: makeSigner({}, foreign) }), context), nowMs, both).refusal, 0)
    t.equal(
      check(readCard(issue({ by: makeSigner({}, namesake) }), context), nowMs, both).refusal,
      refusal.signerUntrusted,
    )
  })

  t.test('an anchor vouches for cards of its state, and for the authorities it is limited to', async (t) => {
    const [anchor] = trust.anchors
    const list = anchor && trust.listOf(anchor)
    if (!anchor || !list) return t.fail('no trust')
    const limited = (limits: { state?: string; authorities?: string[] }) =>
      check(good, nowMs, makeTrust([{ anchor, list, ...limits }]))
    t.equal(limited({ state: 'UTO' }).refusal, refusal.signerUntrusted)
    t.equal(limited({ authorities: ['第二虚构市'] }).refusal, refusal.signerUntrusted)
    t.notOk('person' in limited({ authorities: ['第二虚构市'] }), 'and names nobody')
    t.equal(limited({ authorities: ['第二虚构市', '第一虚构市'] }).refusal, 0)
    t.equal(limited({ authorities: ['一虚构市'] }).refusal, refusal.signerUntrusted, 'it must begin so')
  })

  t.test('the verified serial is a copy, so that the opened reading can be forgotten', async (t) => {
    const plain = printReading(good)
    const verdict = check(parseReading(plain) as Reading)
    plain.fill(0)
    t.ok('card' in verdict && verdict.card.serial.equals(holder.serial))
  })

  t.test('no altered byte of a reading passes or throws', async (t) => {
    const plain = printReading(good)
    const outcomes = new Map<string, number>()
    let passed = 0
    for (let at = 0; at < plain.length; at++) {
      const altered = Buffer.from(plain)
      altered.writeUInt8(altered.readUInt8(at) ^ (1 << (at % 8)), at)
      const reading = parseReading(altered)
      const refused = reading && reading.suite === good.suite ? check(reading).refusal : -1
      if (refused === 0) passed += 1
      const name = refused < 0 ? 'row 6' : `R${refused}`
      outcomes.set(name, (outcomes.get(name) ?? 0) + 1)
    }
    t.equal(passed, 0)
    t.comment([...outcomes].map(([name, count]) => `${name}: ${count}`).join(', '))
  })

  t.test('no altered bit of a SOD passes or throws', async (t) => {
    let passed = 0
    for (let bit = 0; bit < good.sod.length * 8; bit++) {
      const sod = Buffer.from(good.sod)
      sod.writeUInt8(sod.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
      if (check({ ...good, sod }).refusal === 0) passed += 1
    }
    t.equal(passed, 0, `${good.sod.length * 8} bits`)
  })

  t.test('no altered bit of chip signature, DG14 or DG15 passes', async (t) => {
    let passed = 0
    for (const file of ['chipSignature', 'dg15', 'dg14'] as const) {
      for (let bit = 0; bit < good[file].length * 8; bit++) {
        const bytes = Buffer.from(good[file])
        bytes.writeUInt8(bytes.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
        if (check({ ...good, [file]: bytes }).refusal === 0) passed += 1
      }
    }
    t.equal(passed, 0)
  })

  t.test('no truncation of the SOD or of DG15 passes or throws', async (t) => {
    for (let end = 0; end < good.sod.length; end++) {
      const sod = good.sod.subarray(0, end)
      if (check({ ...good, sod }).refusal !== refusal.sodParse) t.fail(`SOD of ${end} bytes`)
    }
    for (let end = 0; end < good.dg15.length; end++) {
      const dg15 = good.dg15.subarray(0, end)
      if (check({ ...good, dg15 }).refusal !== refusal.dg15) t.fail(`DG15 of ${end} bytes`)
    }
    t.pass('all')
  })
}
