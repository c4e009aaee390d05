// What a verifier remembers: signatures of what was found right, and nothing that can change or that a chip says.
import { hash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import t, { type Test } from 'tap'
import { serialOf } from '../../certs/card-issuer.ts'
import { dayMs } from '../../src/base/clock.ts'
import { GatewayError } from '../../src/base/errors.ts'
import { limits } from '../../src/base/limits.ts'
import { createCardVerifier } from '../../src/card/check.ts'
import { Memo, nameOf, type ProvenSigner, type ProvenSod } from '../../src/card/memo.ts'
import { parseReading, printReading, type Reading } from '../../src/card/reading.ts'
import { refusal } from '../../src/card/refusal.ts'
import type { CardVerdict } from '../../src/card/verdict.ts'
import { type Anchor, type CardTrust, loadAnchors } from '../../src/pki/anchors.ts'
import { parseCrl } from '../../src/pki/revocation.ts'
import type { Suite } from '../../src/pki/suites.ts'
import { issueCard, readCard } from '../../src/simulator/cards.ts'
import { type CardWorld, context, holder, makeTrust, nowMs, signedMs, worlds } from '../helpers/cards.ts'

/** The suite, counting what it is asked to check. */
function counted(suite: Suite) {
  const counts = { der: 0, raw: 0 }
  const counting: Suite = {
    ...suite,
    importKey(spki) {
      const key = suite.importKey(spki)
      return (
        key && {
          checkDer: (...given) => {
            counts.der++
            return key.checkDer(...given)
          },
          checkRaw: (...given) => {
            counts.raw++
            return key.checkRaw(...given)
          },
        }
      )
    },
  }
  return { suite: counting, counts }
}

function open(world: CardWorld) {
  const { suite, counts } = counted(world.signing.suite)
  const anchors = loadAnchors([world.issuer.certificateDer], suite)
  const trustOf = (list = world.makeCrl()) =>
    makeTrust([{ anchor: anchors[0] as Anchor, list: parseCrl(list, anchors) }])
  let trust: CardTrust = trustOf()
  const verify = createCardVerifier({ suite, trust: () => trust })
  const card = issueCard(holder, world.signer, { signedMs })
  return {
    ...{ counts, card, trustOf },
    setTrust: (next: CardTrust) => {
      trust = next
    },
    trust: () => trust,
    check: (reading: Reading, at = nowMs) => verify(reading, { context, nowMs: at }) as CardVerdict,
    /** Signatures checked by what `run` does: of SOD and certificates, and of chips. */
    spent(run: () => unknown): [der: number, raw: number] {
      const before = { ...counts }
      run()
      return [counts.der - before.der, counts.raw - before.raw]
    },
  }
}

for (const world of worlds) t.test(world.signing.suite.name, async (t) => testMemo(t, world))

function testMemo(t: Test, world: CardWorld): void {
  const { signer, revokedSigner, makeCrl, makeSigner } = world

  t.test('a card that was found right costs its chip’s signature alone the next time', async (t) => {
    const g = open(world)
    t.same(
      g.spent(() => t.equal(g.check(readCard(g.card, context)).refusal, 0)),
      [2, 1],
    )
    for (let i = 0; i < 3; i++) {
      t.same(
        g.spent(() => t.equal(g.check(readCard(g.card, context)).refusal, 0)),
        [0, 1],
      )
    }
    const other = issueCard(holder, signer, { signedMs })
    t.same(
      g.spent(() => t.equal(g.check(readCard(other, context)).refusal, 0)),
      [1, 1],
      'its signer is known',
    )
  })

  t.test('the chip is never taken on trust', async (t) => {
    const g = open(world)
    const reading = readCard(g.card, context)
    t.equal(g.check(reading).refusal, 0)
    t.equal(g.check(readCard(g.card, context, 'cloned')).refusal, refusal.chipSignature)
    for (const spoil of ['for another challenge', 'for another parcel', 'for another carrier'] as const) {
      t.equal(g.check(readCard(g.card, context, spoil)).refusal, refusal.chipSignature, spoil)
    }
    t.same(
      g.spent(() => g.check(reading)),
      [0, 1],
      'the same bytes too',
    )
  })

  t.test('the files are held against a known SOD like against a new one', async (t) => {
    const g = open(world)
    g.check(readCard(g.card, context))
    t.equal(g.check(readCard(g.card, context, 'record altered')).refusal, refusal.dg1)
    t.equal(g.check(readCard(g.card, context, 'card serial altered')).refusal, refusal.dg14)
    t.equal(g.check(readCard(g.card, context, 'chip key replaced')).refusal, refusal.dg15)
  })

  t.test('what was refused is checked anew each time', async (t) => {
    const g = open(world)
    const forged = readCard(issueCard(holder, signer, { signedMs, spoil: 'forged signature' }), context)
    t.same(
      g.spent(() => t.equal(g.check(forged).refusal, refusal.sodSignature)),
      [2, 0],
    )
    t.same(
      g.spent(() => t.equal(g.check(forged).refusal, refusal.sodSignature)),
      [1, 0],
    )
    const byRevoked = readCard(issueCard(holder, revokedSigner, { signedMs }), context)
    for (let i = 0; i < 2; i++) {
      t.same(
        g.spent(() => t.equal(g.check(byRevoked).refusal, refusal.signerRevoked)),
        [1, 0],
      )
    }
    const ca = makeSigner({ spoil: { ca: true } })
    const byCa = readCard(issueCard(holder, ca, { signedMs }), context)
    for (let i = 0; i < 2; i++) {
      t.same(
        g.spent(() => t.equal(g.check(byCa).refusal, refusal.signerUsage)),
        [1, 0],
      )
    }
  })

  t.test('a known card is refused once its signer is listed, and everything else is forgotten', async (t) => {
    const g = open(world)
    const reading = readCard(g.card, context)
    g.check(reading)
    const revoked = [{ serial: serialOf(signer.certificateDer), atMs: nowMs }]
    g.setTrust(g.trustOf(makeCrl(undefined, { number: 2, revoked })))
    t.equal(g.check(reading).refusal, refusal.signerRevoked)
    g.setTrust(g.trustOf())
    t.same(
      g.spent(() => t.equal(g.check(reading).refusal, 0)),
      [2, 1],
      'nothing was kept over a change',
    )
  })

  t.test('a list that changes within one trust bites a known card too', async (t) => {
    const g = open(world)
    const { anchors } = g.trust()
    let list = parseCrl(makeCrl(), anchors)
    g.setTrust({ ...g.trust(), listOf: () => list })
    const reading = readCard(g.card, context)
    t.equal(g.check(reading).refusal, 0)
    const revoked = [{ serial: serialOf(signer.certificateDer), atMs: nowMs }]
    list = parseCrl(makeCrl(undefined, { number: 2, revoked }), anchors)
    t.equal(g.check(reading).refusal, refusal.signerRevoked)
  })

  t.test('an anchor that is gone, or no longer for such cards, vouches for no known card', async (t) => {
    const g = open(world)
    const reading = readCard(g.card, context)
    g.check(reading)
    const [anchor] = g.trust().anchors
    const list = anchor && g.trust().listOf(anchor)
    if (!anchor || !list) return t.fail('no trust')
    g.setTrust(makeTrust([]))
    t.equal(g.check(reading).refusal, refusal.signerUntrusted)
    g.setTrust(makeTrust([{ anchor, list, state: 'UTO' }]))
    t.equal(g.check(reading).refusal, refusal.signerUntrusted)
    g.setTrust(makeTrust([{ anchor, list, authorities: ['第九'] }]))
    t.equal(g.check(reading).refusal, refusal.signerUntrusted)
    t.equal(g.check(reading).refusal, refusal.signerUntrusted, 'and a second time')
  })

  t.test('times are looked at each time: of list, anchors, certificate and card', async (t) => {
    const g = open(world)
    const reading = readCard(g.card, context)
    g.check(reading)
    const at = (ms: number) => () => g.check(reading, ms)
    t.throws(at(nowMs + 2 * dayMs), new GatewayError('trust_stale', 'list_not_fresh'))
    const long = makeCrl(undefined, { thisUpdateMs: signedMs - dayMs, nextUpdateMs: nowMs + 9999 * dayMs })
    g.setTrust({ ...g.trustOf(long), notAfterMs: nowMs + 8000 * dayMs })
    g.check(reading)
    t.equal(g.check(reading, nowMs + 7000 * dayMs).refusal, refusal.expired, 'the card ends in 2040')
    t.throws(at(nowMs + 8001 * dayMs), new GatewayError('trust_stale', 'anchors_ended'))
    t.equal(g.check(reading, signedMs - 1).refusal, refusal.signerTime)
    const short = makeSigner({ spoil: { notAfterMs: nowMs + 2000 } })
    const byShort = readCard(issueCard(holder, short, { signedMs }), context)
    t.equal(g.check(byShort).refusal, 0)
    t.equal(g.check(byShort, nowMs + 3000).refusal, refusal.signerTime)
  })

  t.test('what is kept holds on to no bytes of a reading', async (t) => {
    const g = open(world)
    const plain = printReading(readCard(g.card, context))
    const reading = parseReading(plain) as Reading
    const again = parseReading(Buffer.from(plain)) as Reading
    t.equal(g.check(reading).refusal, 0)
    plain.fill(0)
    t.same(
      g.spent(() => t.equal(g.check(again).refusal, 0)),
      [0, 1],
    )
  })
}

t.test(
  'a check that runs in turns while trust changes leaves nothing behind for the new trust',
  async (t) => {
    const world = worlds[1]
    const { issuer, signer, makeCrl, signing } = world
    const anchors = loadAnchors([issuer.certificateDer], signing.suite)
    const anchor = anchors[0] as Anchor
    let trust = makeTrust([{ anchor, list: parseCrl(makeCrl(), anchors) }])
    const waiting: (() => void)[] = []
    const takeTurn = () => new Promise<void>((resolve) => waiting.push(resolve))
    const verify = createCardVerifier({ suite: signing.suite, trust: () => trust, takeTurn })
    const reading = readCard(issueCard(holder, signer, { signedMs }), context)
    const finish = async (verdict: Promise<CardVerdict>) => {
      let isDone = false
      void verdict.finally(() => {
        isDone = true
      })
      for (let i = 0; i < 100 && !isDone; i++) {
        waiting.shift()?.()
        await new Promise((resolve) => setImmediate(resolve))
      }
      return verdict
    }
    const begun = verify(reading, { context, nowMs }) as Promise<CardVerdict>
    const revoked = [{ serial: serialOf(signer.certificateDer), atMs: nowMs }]
    trust = makeTrust([{ anchor, list: parseCrl(makeCrl(undefined, { number: 2, revoked }), anchors) }])
    const other = readCard(issueCard(holder, signer, { signedMs }), context)
    t.equal(
      (await finish(verify(other, { context, nowMs }) as Promise<CardVerdict>)).refusal,
      refusal.signerRevoked,
    )
    t.equal((await finish(begun)).refusal, refusal.signerRevoked, 'what waited is looked at again')
    for (const each of [reading, other]) {
      const again = verify(each, { context, nowMs }) as Promise<CardVerdict>
      t.equal((await finish(again)).refusal, refusal.signerRevoked)
    }
  },
)

const named = (i: number) => nameOf(Buffer.from(`${i}`))
const proven = (i: number, signer: ProvenSigner): ProvenSod => {
  const of = (group: string) => hash('sha256', `${group} ${i}`, 'latin1')
  return { signer, signedMs: signedMs + i / 2, dg1: of('1'), dg14: of('14'), dg15: of('15') }
}

t.test('the memo is bounded, and tells of what it holds just what was proved', async (t) => {
  const memo = new Memo()
  const trust = makeTrust([])
  memo.under(trust)
  const signers = Array.from({ length: limits.signersKnownMax + 10 }, () => ({}) as ProvenSigner)
  for (const [i, signer] of signers.entries()) memo.keepSigner(trust, `${i}`, signer)
  const sods = Array.from({ length: limits.sodsKnownMax + 10 }, (_, i) =>
    proven(i, signers[i % signers.length] as ProvenSigner),
  )
  for (const [i, sod] of sods.entries()) memo.keepSod(trust, named(i), sod)
  t.equal(memo.sizes.signers, limits.signersKnownMax)
  let held = 0
  for (const [i, sod] of sods.entries()) {
    const found = memo.sod(named(i))
    if (!found) continue
    held++
    if (found.signer !== sod.signer || !isDeepStrictEqual(found, sod)) t.fail(`another than was kept: ${i}`)
  }
  t.equal(held, memo.sizes.sods)
  t.ok(held <= limits.sodsKnownMax && held > limits.sodsKnownMax * 0.8, `${held} held`)
  t.equal(memo.sod(named(sods.length)), undefined)
  memo.under(makeTrust([]))
  t.same(memo.sizes, { signers: 0, sods: 0 })
  memo.keepSod(trust, named(0), sods[0] as ProvenSod)
  memo.keepSigner(trust, 'late', signers[0] as ProvenSigner)
  t.same(memo.sizes, { signers: 0, sods: 0 }, 'what was proved under the trust before is not kept')
})

t.test('hashes of another length are not kept: rows would not be told apart', async (t) => {
  const memo = new Memo()
  const trust = makeTrust([])
  memo.under(trust)
  const sod = proven(1, {} as ProvenSigner)
  memo.keepSod(trust, named(1), { ...sod, dg1: sod.dg1.slice(1), dg14: `${sod.dg14}x` })
  t.equal(memo.sod(named(1)), undefined)
})

t.test('signers without end are not held: all is forgotten now and then', async (t) => {
  const memo = new Memo()
  const trust = makeTrust([])
  memo.under(trust)
  for (let i = 0; i < 4 * limits.signersKnownMax; i++) {
    memo.keepSod(trust, named(i), proven(i, { serial: `${i}` } as ProvenSigner))
  }
  t.equal(memo.sod(named(0))?.signer.serial, '0')
  memo.keepSod(trust, named(9999), proven(9999, { serial: 'one more' } as ProvenSigner))
  t.equal(memo.sizes.sods, 1)
  t.equal(memo.sod(named(9999))?.signer.serial, 'one more')
  t.equal(memo.sod(named(0)), undefined)
})

t.test('bytes have one name, and only theirs', async (t) => {
  t.equal(nameOf(Buffer.from('a')), nameOf(Buffer.from('a')))
  t.not(nameOf(Buffer.from('a')), nameOf(Buffer.from('b')))
  t.equal(nameOf(Buffer.alloc(0)).length, 32)
})
