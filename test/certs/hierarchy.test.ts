// The PKI as data: complete, in an order in which it can be made, and described in certs/README.md.
import { readFileSync } from 'node:fs'
import t from 'tap'
import { filesOf, hierarchy } from '../../certs/hierarchy.ts'

const files = hierarchy.flatMap(filesOf)
const readme = readFileSync(new URL('../../certs/README.md', import.meta.url), 'utf8')

t.test('it has exactly the files that others load', async (t) => {
  const pair = (name: string) => [`${name}.key`, `${name}.crt`]
  t.same(
    files.toSorted(),
    [
      ...['gateway-ca', 'gateway', 'carrier-ca', 'carrier-swift-crane', 'carrier-river-post'].flatMap(pair),
      ...['bureau-ca', 'bureau-server', 'bureau-client'].flatMap(pair),
      ...['sam-ca', 'sam-server', 'sam-client', 'sam-reader'].flatMap(pair),
      ...['sam-attestation.key', 'sam-attestation.pub'],
      ...['card-issuer', 'card-signer-1', 'card-signer-2'].flatMap(pair),
      ...['card-issuer-sm2', 'card-signer-1-sm2', 'card-signer-2-sm2'].flatMap(pair),
      ...['carrier-ca.crl', 'card-issuer.crl', 'card-issuer-sm2.crl'],
      ...['card-trust.key', 'card-trust.pub', 'card-trust.jwt'],
      ...['directory.key', 'directory.pub', 'ledger.key', 'ledger.pub', 'token.key', 'kek-1.key'],
    ].toSorted(),
  )
  t.equal(new Set(files).size, files.length, 'each once')
})

t.test('issuers come before what they issue, and lists after what they name', async (t) => {
  const seen = new Set<string>()
  for (const entry of hierarchy) {
    if ('issuer' in entry) t.ok(seen.has(entry.issuer), `${entry.name} after ${entry.issuer}`)
    if ('revokes' in entry) for (const name of [entry.name, ...entry.revokes]) t.ok(seen.has(name), name)
    seen.add(entry.name)
  }
})

t.test('certs/README.md has a row for each entry, with its files and words', async (t) => {
  const rows = readme.split('\n').filter((line) => line.startsWith('| `'))
  t.equal(rows.length, hierarchy.length)
  for (const [i, entry] of hierarchy.entries()) {
    for (const file of filesOf(entry)) t.ok(rows[i]?.includes(`\`${file}\``), file)
    t.ok(rows[i]?.includes(`| ${entry.what} | ${entry.loadedBy} |`), entry.name)
    if ('lifeDays' in entry) {
      t.ok(rows[i]?.endsWith(entry.lifeDays % 365 === 0 ? '| 5 y |' : `| ${entry.lifeDays} d |`), entry.name)
    }
    if ('signsDays' in entry) t.ok(rows[i]?.endsWith(`| signs for ${entry.signsDays} d |`), entry.name)
  }
  t.match(readme, /For development only/)
  t.match(readme, /vouchsafe pki/)
})
