// Which CSCA a signer names: one key is tried, and no more work is done for whoever names none.
import t from 'tap'
import { findCsca, loadCsca, parsePassportCertificate } from '../../../src/card/passport/trust.ts'
import { oids } from '../../../src/pki/certificate.ts'
import { signerOf, stateOf } from '../../helpers/passports.ts'

const [one, other] = [stateOf(), stateOf()]
const [first, second] = [one, other].map((state) => loadCsca(state.certificateDer, 'UTO'))
const signer = parsePassportCertificate(signerOf(one).certificateDer)

t.test('of several keys of one name the one that is named is tried', async (t) => {
  if (!first || !second) return t.fail('no anchors')
  t.equal(findCsca(signer, [second, first]), first)
  t.equal(findCsca(signer, [second]), undefined)
})

t.test('a signer that names no key is trusted only where there is no choice', async (t) => {
  if (!first || !second) return t.fail('no anchors')
  const extensions = new Map(signer.extensions)
  extensions.delete(oids.authorityKeyId)
  const unnamed = { ...signer, extensions }
  t.equal(findCsca(unnamed, [first]), first)
  t.equal(findCsca(unnamed, [first, second]), undefined)
  t.equal(
    findCsca(
      unnamed,
      Array.from({ length: 99 }, () => second),
    ),
    undefined,
  )
})
