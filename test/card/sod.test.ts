// The security object, judged by OpenSSL beside our own reader.
import { spawnSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { readForward } from '../../src/base/der-cursor.ts'
import { printPem } from '../../src/base/pem.ts'
import { ldsContentType, parseSod, signedBytesOf } from '../../src/card/sod.ts'
import { p256 } from '../../src/pki/suites.ts'
import { type CardSpoil, issueCard } from '../../src/simulator/cards.ts'
import { holder, issuer, signedMs, signer, worlds } from '../helpers/cards.ts'

const directory = t.testdir()
const anchor = join(directory, 'issuer.pem')
writeFileSync(anchor, printPem('CERTIFICATE', issuer.certificateDer))
const issue = (spoil?: CardSpoil) => issueCard(holder, signer, { signedMs, ...(spoil ? { spoil } : {}) })

/** Status of `openssl cms -verify`, and the content that it found signed. The certificate's time is our question. */
function opensslVerify(sod: Buffer) {
  const [input, content] = [join(directory, 'sod.der'), join(directory, 'content.der')]
  writeFileSync(input, sod)
  const args = [
    'cms',
    '-verify',
    '-inform',
    'DER',
    '-in',
    input,
    '-CAfile',
    anchor,
    '-purpose',
    'any',
    '-binary',
  ]
  const run = spawnSync('openssl', [...args, '-no_check_time', '-out', content], { encoding: 'utf8' })
  return { status: run.status, error: run.stderr, content: () => readFileSync(content) }
}

t.test('OpenSSL accepts our SOD and finds the same content', async (t) => {
  const card = issue()
  const found = opensslVerify(card.sod)
  t.equal(found.status, 0, found.error)
  t.same(parseSod(readForward(card.sod), p256).content, found.content())
})

t.test('OpenSSL refuses what we refuse for the signature’s sake', async (t) => {
  for (const spoil of [
    'forged signature',
    'signature altered',
    'another message digest',
    'certificate altered',
  ] as const) {
    t.not(opensslVerify(issue(spoil).sod).status, 0, spoil)
  }
})

t.test('OpenSSL accepts some that our profile refuses: we are the stricter', async (t) => {
  for (const spoil of [
    'extra attribute',
    'lds order',
    'lds without 14',
    'digest parameters',
    'content in pieces',
  ] as const) {
    t.equal(opensslVerify(issue(spoil).sod).status, 0, spoil)
  }
})

for (const world of worlds) {
  t.test(world.signing.suite.name, async (t) => {
    const { suite } = world.signing
    t.test('the parts of a SOD are those that were signed', async (t) => {
      const card = issueCard(holder, world.signer, { signedMs })
      const sod = parseSod(readForward(card.sod), suite)
      t.same([...sod.hashes.keys()], [1, 2, 3, 14, 15])
      t.same(sod.hashes.get(1), suite.hashText(card.dg1))
      t.same(sod.hashes.get(14), suite.hashText(card.dg14))
      t.same(sod.hashes.get(15), suite.hashText(card.dg15))
      t.same(sod.attributeValues, {
        contentType: ldsContentType,
        messageDigest: suite.hash(sod.content),
        signedMs,
      })
    })

    t.test(
      'signed bytes differ from the received ones in their tag alone, and those stay as they are',
      async (t) => {
        const { attributes } = parseSod(readForward(issueCard(holder, world.signer, { signedMs }).sod), suite)
        const signed = signedBytesOf(attributes)
        t.equal(attributes[0], 0xa0)
        t.equal(signed[0], 0x31)
        t.same(signed.subarray(1), attributes.subarray(1))
      },
    )

    t.test('the parts are views of the received bytes', async (t) => {
      const { sod } = issueCard(holder, world.signer, { signedMs })
      const parts = parseSod(readForward(sod), suite)
      for (const part of [parts.content, parts.attributes, parts.signature, parts.signer.tbs]) {
        t.equal(part.buffer, sod.buffer)
      }
    })
  })
}
