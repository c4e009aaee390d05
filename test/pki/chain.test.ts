// Document signers: who signed them, when they may sign, and for what.
import { X509Certificate } from 'node:crypto'
import t from 'tap'
import { type Anchors, loadAnchors } from '../../src/pki/anchors.ts'
import { oids, parseCertificate, type UnverifiedCertificate } from '../../src/pki/certificate.ts'
import { findIssuer, isDocumentSigner, isInTime, periodOf } from '../../src/pki/chain.ts'
import { p256, type Suite, sm2 } from '../../src/pki/suites.ts'
import { nowMs, signedMs, worlds } from '../helpers/cards.ts'

for (const world of worlds) {
  t.test(world.signing.suite.name, async (t) => {
    const { issuer, issuerOf, makeSigner, signer } = world
    const { suite } = world.signing
    const other = suite === p256 ? sm2 : p256
    const anchors = loadAnchors([issuer.certificateDer], suite)
    const good = parseCertificate(signer.certificateDer)
    const namesake = issuerOf('Test card issuer')

    const isTrusted = (certificate: UnverifiedCertificate, by: Anchors, suite: Suite) =>
      findIssuer(certificate, by, suite) !== undefined

    /** As `good`, with its extensions changed: what a certificate of a careless issuer would say. */
    function withExtensions(
      change: (all: Map<string, { critical: boolean; value: Buffer }>) => void,
    ): UnverifiedCertificate {
      const extensions = new Map(good.extensions)
      change(extensions)
      return { ...good, extensions }
    }

    t.test('node:crypto and we agree on a good signer', async (t) => {
      const other = new X509Certificate(signer.certificateDer)
      // OpenSSL's own check of SM2 knows no user id: test/certs has it with one.
      if (suite === p256) t.ok(other.verify(new X509Certificate(issuer.certificateDer).publicKey))
      t.equal(good.serial.toString('hex').toUpperCase(), other.serialNumber)
      t.equal(good.notBeforeMs, Date.parse(other.validFrom))
      t.same(good.spki, other.publicKey.export({ format: 'der', type: 'spki' }))
      t.ok(isTrusted(good, anchors, suite))
      t.ok(isDocumentSigner(good))
      t.ok(isInTime(periodOf(good), signedMs, nowMs))
    })

    t.test('a signer is trusted by an anchor of its own suite, name and key only', async (t) => {
      t.notOk(isTrusted(good, anchors, other), 'the anchor is not allowed for the suite')
      t.notOk(isTrusted(good, loadAnchors([namesake.certificateDer], suite), suite), 'a namesake’s key')
      t.ok(
        isTrusted(good, loadAnchors([namesake.certificateDer, issuer.certificateDer], suite), suite),
        'both are looked at',
      )
      t.notOk(isTrusted({ ...good, issuer: good.subject }, anchors, suite), 'another name')
      t.notOk(isTrusted({ ...good, algorithm: '2a864886f70d01010b' }, anchors, suite), 'another algorithm')
      t.notOk(isTrusted(good, [], suite))
    })

    t.test('the issuer’s key must be named', async (t) => {
      t.notOk(
        isTrusted(
          withExtensions((all) => all.delete(oids.authorityKeyId)),
          anchors,
          suite,
        ),
        'not named',
      )
      const value = Buffer.from(`30168014${'00'.repeat(20)}`, 'hex')
      const other = withExtensions((all) => all.set(oids.authorityKeyId, { critical: false, value }))
      t.notOk(isTrusted(other, anchors, suite), 'another key named')
      const empty = withExtensions((all) =>
        all.set(oids.authorityKeyId, { critical: false, value: Buffer.from('3000', 'hex') }),
      )
      t.notOk(isTrusted(empty, anchors, suite), 'no key in it')
    })

    t.test('CA=false is the empty sequence, as DER has it', async (t) => {
      for (const hex of ['3003010100', '30030101ff', '3003020100', '']) {
        const value = Buffer.from(hex, 'hex')
        const other = withExtensions((all) => all.set(oids.basicConstraints, { critical: true, value }))
        t.notOk(isDocumentSigner(other), hex)
      }
    })

    t.test('what is not critical and unknown does no harm, what is critical and unknown does', async (t) => {
      const value = Buffer.from('0500', 'hex')
      t.ok(isDocumentSigner(withExtensions((all) => all.set('2a03', { critical: false, value }))))
      t.notOk(isDocumentSigner(withExtensions((all) => all.set('2a03', { critical: true, value }))))
    })

    t.test('a period with one end only is none', async (t) => {
      for (const hex of [
        '3011800f32303236303130313030303030305a',
        '3011810f32303939303130313030303030305a',
      ]) {
        const value = Buffer.from(hex, 'hex')
        const other = withExtensions((all) => all.set(oids.privateKeyUsagePeriod, { critical: false, value }))
        t.notOk(isInTime(periodOf(other), signedMs, nowMs))
      }
    })

    t.test(
      'every truncation of a certificate is refused, and every flipped bit refused or no longer trusted',
      async (t) => {
        const der = makeSigner().certificateDer
        for (let end = 0; end < der.length; end++) {
          t.throws(() => parseCertificate(der.subarray(0, end)), Error, `${end} bytes`)
        }
        let trusted = 0
        for (let bit = 0; bit < der.length * 8; bit++) {
          const altered = Buffer.from(der)
          altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
          try {
            if (isTrusted(parseCertificate(altered), anchors, suite)) trusted += 1
          } catch (error) {
            t.equal((error as Error).constructor.name, 'DerError')
          }
        }
        t.equal(trusted, 0)
      },
    )
  })
}
