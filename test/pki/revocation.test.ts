// Revocation lists: OpenSSL's own, ours, and those that say something else than they seem to.
import { execFileSync } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { makeCardCrl, serialOf } from '../../certs/card-issuer.ts'
import { dayMs } from '../../src/base/clock.ts'
import { printPem } from '../../src/base/pem.ts'
import { loadAnchors } from '../../src/pki/anchors.ts'
import { parseCertificate } from '../../src/pki/certificate.ts'
import { parseCrl, rollbackOf } from '../../src/pki/revocation.ts'
import { issuer, nowMs, revokedSigner, signer, worlds } from '../helpers/cards.ts'

const anchors = loadAnchors([issuer.certificateDer])
const revoked = parseCertificate(revokedSigner.certificateDer)
const good = parseCertificate(signer.certificateDer)

/** A list by `openssl ca -gencrl`, with one revoked serial and these extensions; from 2026-11-23 for two days. */
function opensslCrl(extensions: string): Buffer {
  const folder = t.testdir({
    'index.txt': `R\t491231000000Z\t261123000000Z\t${serialOf(revokedSigner.certificateDer).toString('hex').toUpperCase()}\tunknown\t/CN=x\n`,
    'index.txt.attr': 'unique_subject = no\n',
    crlnumber: '01\n',
    'ca.pem': printPem('CERTIFICATE', issuer.certificateDer),
    'ca.key': issuer.privateKey.export({ format: 'pem', type: 'pkcs8' }) as string,
  })
  const file = (name: string) => join(folder, name)
  writeFileSync(
    file('ca.cnf'),
    [
      '[ca]\ndefault_ca = card',
      `[card]\ndatabase = ${file('index.txt')}\ncrlnumber = ${file('crlnumber')}\ndefault_md = sha256`,
      `certificate = ${file('ca.pem')}\nprivate_key = ${file('ca.key')}\ncrl_extensions = list`,
      `[list]\nauthorityKeyIdentifier = keyid\n${extensions}`,
      '[scope]\nonlyuser = TRUE\n',
    ].join('\n'),
  )
  const times = ['-crl_lastupdate', '20261123000000Z', '-crl_nextupdate', '20261125000000Z']
  execFileSync('openssl', ['ca', '-gencrl', '-config', file('ca.cnf'), ...times, '-out', file('crl.pem')], {
    stdio: 'ignore',
  })
  return execFileSync('openssl', ['crl', '-in', file('crl.pem'), '-outform', 'DER'])
}

t.test('a list that OpenSSL made names its serials, and no others', async (t) => {
  const crl = parseCrl(opensslCrl(''), anchors)
  t.ok(crl.has(revoked.serial))
  t.notOk(crl.has(good.serial))
  t.ok(crl.isFresh(nowMs))
  t.ok(crl.covers(good.issuer))
})

t.test('a list of part of the certificates, or of changes alone, is not taken for the whole', async (t) => {
  t.throws(
    () => parseCrl(opensslCrl('issuingDistributionPoint = critical,@scope'), anchors),
    /critical extension/,
  )
  t.throws(() => parseCrl(opensslCrl('2.5.29.27 = critical,ASN1:INTEGER:1'), anchors), /critical extension/)
})

for (const world of worlds) {
  t.test(world.signing.suite.name, async (t) => {
    const { issuer, issuerOf, makeCrl, load, anchors, signer, revokedSigner } = world
    const revoked = parseCertificate(revokedSigner.certificateDer)
    const good = parseCertificate(signer.certificateDer)
    t.test('our list, with and without entries', async (t) => {
      t.ok(parseCrl(makeCrl(), anchors).has(revoked.serial))
      const empty = parseCrl(
        makeCardCrl(issuer, {
          thisUpdateMs: nowMs - dayMs,
          nextUpdateMs: nowMs + dayMs,
          number: 2,
          revoked: [],
        }),
        anchors,
      )
      t.notOk(empty.has(revoked.serial))
      t.ok(empty.isFresh(nowMs))
    })

    t.test('fresh from 5 s before thisUpdate to nextUpdate, both included', async (t) => {
      const crl = parseCrl(makeCrl(issuer, { thisUpdateMs: nowMs, nextUpdateMs: nowMs + dayMs }), anchors)
      t.ok(crl.isFresh(nowMs - 5000))
      t.notOk(crl.isFresh(nowMs - 5001))
      t.ok(crl.isFresh(nowMs + dayMs))
      t.notOk(crl.isFresh(nowMs + dayMs + 1))
    })

    t.test('a list of another issuer, or of its namesake, is refused', async (t) => {
      const foreign = issuerOf('Foreign issuer')
      const namesake = issuerOf('Test card issuer')
      for (const by of [foreign, namesake]) {
        t.throws(
          () => parseCrl(makeCrl(by), anchors),
          /signed by none of the card issuers that are trusted.* Fix: /,
        )
      }
      const two = load(issuer, foreign)
      t.notOk(parseCrl(makeCrl(foreign), two).covers(good.issuer), 'it speaks for its own issuer alone')
    })

    t.test('every truncation and every flipped bit of a list is refused, with what to do', async (t) => {
      const der = makeCrl()
      for (let end = 0; end < der.length; end++) {
        t.throws(() => parseCrl(der.subarray(0, end), anchors), /not accepted: .* Fix: /, `${end} bytes`)
      }
      let accepted = 0
      for (let bit = 0; bit < der.length * 8; bit++) {
        const altered = Buffer.from(der)
        altered.writeUInt8(altered.readUInt8(bit >> 3) ^ (1 << (bit & 7)), bit >> 3)
        try {
          parseCrl(altered, anchors)
          accepted += 1
        } catch (error) {
          if (!(error instanceof Error && error.message.includes('Fix: '))) throw error
        }
      }
      t.equal(accepted, 0)
      t.throws(() => parseCrl(Buffer.concat([der, Buffer.of(0)]), anchors), /trailing bytes/)
      t.throws(() => parseCrl(readFileSync(import.meta.filename), anchors), /Fix: /)
    })

    t.test('a flood of elements is refused before it is read, unsigned as it is', async (t) => {
      const flood = Buffer.alloc(600_000)
      for (let at = 0; at < flood.length; at += 2) flood[at] = 5
      const head = (length: number) => Buffer.from(`3083${length.toString(16).padStart(6, '0')}`, 'hex')
      const list = Buffer.concat([head(flood.length), flood])
      t.throws(() => parseCrl(list, anchors), /too many elements/)
      const rest = Buffer.from('3000030100', 'hex')
      const inTbs = Buffer.concat([head(list.length + rest.length), list, rest])
      t.throws(() => parseCrl(inTbs, anchors), /too many elements/)
    })

    t.test(
      'another list of the same time and number does not take the place of the one in use',
      async (t) => {
        const [one, again] = [makeCrl(), makeCrl()].map((der) => parseCrl(der, anchors))
        const other = parseCrl(makeCrl(issuer, { revoked: [] }), anchors)
        if (!one || !again) return t.fail('no lists')
        t.equal(one.content, again.content, 'signed twice, it is one list')
        t.equal(rollbackOf(again, one), undefined)
        t.match(rollbackOf(other, one), /says other than/)
      },
    )
  })
}
