// The issuing side: cards as the layout says, and spoils for every refusal that a card alone can show.
import { createPrivateKey, generateKeyPairSync } from 'node:crypto'
import t from 'tap'
import { readForward } from '../../src/base/der-cursor.ts'
import { printPem } from '../../src/base/pem.ts'
import { parseReading, printReading } from '../../src/card/reading.ts'
import { parseRecord } from '../../src/card/record.ts'
import { refusal } from '../../src/card/refusal.ts'
import { parseSod } from '../../src/card/sod.ts'
import { chipMessage } from '../../src/card/verdict.ts'
import { cardSpoils, issueCard, loadSigner, readCard, readingSpoils } from '../../src/simulator/cards.ts'
import { context, holder, signedMs, signer, worlds } from '../helpers/cards.ts'

for (const world of worlds) {
  t.test(world.signing.suite.name, async (t) => {
    const { signer } = world
    const { suite } = world.signing
    const card = issueCard(holder, signer, { signedMs })

    t.test('the files are laid out as PROTOCOL section 6 says', async (t) => {
      const { serial, ...record } = holder
      t.equal(card.dg1.length, 272)
      t.same(parseRecord(card.dg1.subarray(16)), record)
      t.equal(card.dg14.length, 40)
      t.same(card.dg14.subarray(24), serial)
      t.ok(suite.importKey(card.dg15))
    })

    t.test('two cards of one person share no salt, no key and no hash', async (t) => {
      const other = issueCard(holder, signer, { signedMs })
      for (const file of ['dg1', 'dg14', 'dg15', 'sod'] as const) t.notSame(other[file], card[file], file)
      t.notSame(other.dg1.subarray(0, 16), card.dg1.subarray(0, 16))
      const hashes = parseSod(readForward(other.sod), suite).hashes
      for (const [group, hash] of parseSod(readForward(card.sod), suite).hashes)
        t.notSame(hashes.get(group), hash)
    })

    t.test('a reading fits into its class, with the chip’s signature for the request', async (t) => {
      const reading = readCard(card, context)
      t.same(parseReading(printReading(reading)), reading)
      const message = chipMessage(context, suite.hash(card.sod))
      t.ok(suite.importKey(card.dg15)?.checkRaw(message, reading.chipSignature))
    })

    t.test('every spoiled card and reading still fits into its class', async (t) => {
      for (const spoil of Object.keys(cardSpoils) as (keyof typeof cardSpoils)[]) {
        const reading = readCard(issueCard(holder, signer, { signedMs, spoil }), context)
        t.ok(parseReading(printReading(reading)), spoil)
      }
      for (const spoil of Object.keys(readingSpoils) as (keyof typeof readingSpoils)[]) {
        t.ok(parseReading(printReading(readCard(card, context, spoil))), spoil)
      }
    })
  })
}

t.test('the spoils show every refusal but those that need another signer', async (t) => {
  const shown = new Set<number>(
    [...Object.values(cardSpoils), ...Object.values(readingSpoils)].map((row) => row.refusal),
  )
  const others = Object.values(refusal).filter((number) => !shown.has(number))
  t.same(others, [refusal.signerRevoked, refusal.signerUsage])
})

t.test('a field that does not fit is a fault of the caller', async (t) => {
  t.throws(
    () => issueCard({ ...holder, name: '名'.repeat(16) }, signer, { signedMs }),
    RangeError('the field name does not fit'),
  )
})

t.test('a signer is loaded from PEM if certificate and key belong together', async (t) => {
  const pem = Buffer.from(printPem('CERTIFICATE', signer.certificateDer))
  const key = createPrivateKey(signer.privateKey.export({ format: 'pem', type: 'pkcs8' }))
  t.same(loadSigner(pem, key).certificateDer, signer.certificateDer)
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  t.throws(() => loadSigner(pem, privateKey), /do not belong together/)
})
