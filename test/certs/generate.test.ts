// The development PKI in a folder: made once, kept, renewed in time, and whole after any crash.
import { execFile, spawnSync } from 'node:child_process'
import { createHash, createPrivateKey, createPublicKey, X509Certificate } from 'node:crypto'
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { promisify } from 'node:util'
import t from 'tap'
import { serialOf, usagePeriodOf } from '../../certs/card-issuer.ts'
import { ensureDevPki, type Made, printMade } from '../../certs/generate.ts'
import { filesOf, hierarchy } from '../../certs/hierarchy.ts'
import { parseBase64url } from '../../src/base/bytes.ts'
import { dayMs, systemClock } from '../../src/base/clock.ts'

const nowMs = systemClock.now()
const allFiles = hierarchy.flatMap(filesOf)
const namesOf = (made: readonly Made[]) => made.map((one) => one.file).toSorted()
const ensure = (directory: string, atMs = nowMs) => ensureDevPki({ directory, nowMs: atMs })
const filesIn = (directory: string) => readdirSync(directory).filter((file) => file !== '.lock')

/** SHA-256 of each file, to see which changed. */
const printsOf = (directory: string) =>
  new Map(
    filesIn(directory).map((file) => [
      file,
      createHash('sha256')
        .update(readFileSync(join(directory, file)))
        .digest('hex'),
    ]),
  )

function changedSince(before: Map<string, string>, directory: string): string[] {
  const after = printsOf(directory)
  return [...new Set([...before.keys(), ...after.keys()])]
    .filter((file) => before.get(file) !== after.get(file))
    .toSorted()
}

/** What OpenSSL says of `openssl <args>` run in the folder; empty if it is content. */
function opensslFaults(directory: string, ...args: string[]): string {
  const run = spawnSync('openssl', args, { cwd: directory, encoding: 'utf8' })
  return run.status === 0 ? '' : `${run.stderr}${run.stdout}`
}

/** A folder with the whole PKI, copied from one made once. */
const model = t.testdir()
const first = await ensure(join(model, 'pki'))
function newFolder(t: { testdir(): string }): string {
  const directory = t.testdir()
  chmodSync(directory, 0o700)
  for (const file of filesIn(join(model, 'pki')))
    copyFileSync(join(model, 'pki', file), join(directory, file))
  return directory
}

function opensslFaultsOfAll(directory: string): string[] {
  const strict = ['verify', '-x509_strict']
  const carriers = [...strict, '-purpose', 'sslclient', '-crl_check', '-CRLfile', 'carrier-ca.crl']
  const cards = [...strict, '-purpose', 'any', '-CAfile', 'card-issuer.crt']
  const sm2 = [...strict, '-purpose', 'any', '-vfyopt', 'distid:1234567812345678']
  const server = [...strict, '-purpose', 'sslserver', '-verify_hostname', 'localhost']
  return [
    [...server, '-CAfile', 'gateway-ca.crt', 'gateway.crt'],
    [...server, '-verify_ip', '::1', '-CAfile', 'gateway-ca.crt', 'gateway.crt'],
    [...server, '-CAfile', 'bureau-ca.crt', 'bureau-server.crt'],
    [...strict, '-purpose', 'sslclient', '-CAfile', 'bureau-ca.crt', 'bureau-client.crt'],
    [...server, '-CAfile', 'sam-ca.crt', 'sam-server.crt'],
    [...strict, '-purpose', 'sslclient', '-CAfile', 'sam-ca.crt', 'sam-client.crt', 'sam-reader.crt'],
    [...carriers, '-CAfile', 'carrier-ca.crt', 'carrier-swift-crane.crt', 'carrier-river-post.crt'],
    [...cards, 'card-signer-1.crt', 'card-signer-2.crt'],
    [...sm2, '-CAfile', 'card-issuer-sm2.crt', 'card-signer-1-sm2.crt', 'card-signer-2-sm2.crt'],
    [...cards, '-crl_check', '-CRLfile', 'card-issuer.crl', 'card-signer-1.crt'],
    ['crl', '-in', 'carrier-ca.crl', '-CAfile', 'carrier-ca.crt', '-verify', '-noout'],
    ['crl', '-in', 'card-issuer.crl', '-CAfile', 'card-issuer.crt', '-verify', '-noout'],
  ]
    .map((args) => opensslFaults(directory, ...args))
    .filter((fault) => fault !== '')
}

function serialsRevoked(directory: string): string {
  const args = ['crl', '-in', 'card-issuer.crl', '-noout', '-text']
  return spawnSync('openssl', args, { cwd: directory, encoding: 'utf8' }).stdout
}

const certificateIn = (directory: string, name: string) =>
  new X509Certificate(readFileSync(join(directory, `${name}.crt`)))

t.test('an empty start makes every file of the hierarchy and nothing else', async (t) => {
  t.same(namesOf(first.made), allFiles.toSorted())
  t.same(filesIn(join(model, 'pki')).toSorted(), allFiles.toSorted())
  t.same(first.warnings, [])
})

t.test('the folder is for its owner only, and so is each key', async (t) => {
  const directory = join(model, 'pki')
  t.equal(statSync(directory).mode & 0o777, 0o700)
  for (const file of allFiles) {
    const mode = statSync(join(directory, file)).mode & 0o777
    t.equal(mode, file.endsWith('.key') ? 0o600 : 0o644, file)
  }
})

t.test('OpenSSL accepts every chain and refuses the second signer as revoked', async (t) => {
  const directory = join(model, 'pki')
  t.same(opensslFaultsOfAll(directory), [])
  const args = ['verify', '-crl_check', '-CRLfile', 'card-issuer.crl', '-CAfile', 'card-issuer.crt']
  t.match(opensslFaults(directory, ...args, 'card-signer-2.crt'), /certificate revoked/)
})

t.test('a carrier is named by its URI, and nothing passes under another CA', async (t) => {
  const directory = join(model, 'pki')
  for (const id of ['swift-crane', 'river-post']) {
    t.equal(certificateIn(directory, `carrier-${id}`).subjectAltName, `URI:urn:vouchsafe:carrier:${id}`)
  }
  t.equal(
    certificateIn(directory, 'bureau-server').subjectAltName,
    'DNS:localhost, DNS:bureau, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1',
  )
  t.not(opensslFaults(directory, 'verify', '-CAfile', 'bureau-ca.crt', 'carrier-river-post.crt'), '')
})

t.test('plain keys have the types that PROTOCOL section 3 asks for', async (t) => {
  const directory = join(model, 'pki')
  const read = (file: string) => readFileSync(join(directory, file), 'utf8')
  for (const name of ['directory', 'ledger']) {
    const key = createPrivateKey(read(`${name}.key`))
    t.equal(key.asymmetricKeyType, 'ed25519')
    t.ok(createPublicKey(key).equals(createPublicKey(read(`${name}.pub`))))
  }
  t.equal(createPrivateKey(read('token.key')).asymmetricKeyDetails?.namedCurve, 'prime256v1')
  t.match(read('token.key'), /^-----BEGIN PRIVATE KEY-----\n/)
  t.match(read('kek-1.key'), /^[\w-]{43}\n$/)
  t.ok(parseBase64url(read('kek-1.key').trim(), 32))
})

t.test('it says until when each certificate and list is good, and prints it', async (t) => {
  const endOf = (file: string) => first.made.find((one) => one.file === file)?.expires?.getTime() ?? 0
  const near = (actual: number, wanted: number) => Math.abs(actual - wanted) < 1000
  t.ok(near(endOf('gateway.crt'), nowMs + 90 * dayMs))
  t.ok(near(endOf('gateway-ca.crt'), nowMs + 1825 * dayMs))
  t.ok(near(endOf('carrier-ca.crl'), nowMs + 30 * dayMs))
  t.ok(near(endOf('card-signer-1.crt'), nowMs + 90 * dayMs), 'a signer: when it stops signing')
  const lines = printMade(first.made).split('\n')
  t.equal(lines.length, allFiles.length + 1)
  const day = new Date(endOf('gateway.crt')).toISOString().slice(0, 10)
  t.ok(lines.some((line) => line.startsWith('gateway.crt ') && line.endsWith(`until ${day}`)))
  t.ok(lines.some((line) => line.startsWith('card-issuer.crt ') && line.endsWith('no end')))
  t.equal(printMade([]), '')
})

t.test('a second call makes nothing', async (t) => {
  const directory = newFolder(t)
  const before = printsOf(directory)
  t.same(await ensure(directory), { made: [], warnings: [] })
  t.same(changedSince(before, directory), [])
})

t.test('a fresh start takes less than 1.5 s', async (t) => {
  const startMs = systemClock.mono()
  await ensure(join(t.testdir(), 'deep', 'pki'))
  t.ok(systemClock.mono() - startMs < 1500)
})

t.test('processes that start at once make one PKI between them', async (t) => {
  const directory = join(t.testdir(), 'pki')
  const url = new URL('../../certs/generate.ts', import.meta.url).href
  const script = `
    const { ensureDevPki } = await import(${JSON.stringify(url)})
    const calls = [1, 2].map(() => ensureDevPki({ directory: ${JSON.stringify(directory)}, nowMs: ${nowMs} }))
    console.log(JSON.stringify((await Promise.all(calls)).flatMap((one) => one.made.map((made) => made.file))))`
  const run = () => promisify(execFile)(process.execPath, ['--input-type=module', '-e', script])
  const runs = await Promise.all([run(), run(), run()])
  const made = runs.flatMap((one) => JSON.parse(one.stdout) as string[])
  t.same(made.toSorted(), allFiles.toSorted())
  t.same(opensslFaultsOfAll(directory), [])
})

t.test('a deleted file is made again, with what hangs on it and nothing else', async (t) => {
  const pair = (...names: string[]) => names.flatMap((name) => [`${name}.crt`, `${name}.key`])
  const below = {
    gateway: pair('gateway-ca', 'gateway'),
    carrier: [...pair('carrier-ca', 'carrier-swift-crane', 'carrier-river-post'), 'carrier-ca.crl'],
    bureau: pair('bureau-ca', 'bureau-server', 'bureau-client'),
    sam: pair('sam-ca', 'sam-server', 'sam-client', 'sam-reader'),
    card: [...pair('card-issuer', 'card-signer-1', 'card-signer-2'), 'card-issuer.crl', 'card-trust.jwt'],
  }
  const cases: [deleted: string[], made: string[]][] = [
    [pair('gateway'), pair('gateway')],
    [['gateway.key'], pair('gateway')],
    [['gateway.crt'], pair('gateway')],
    [pair('gateway-ca'), below.gateway],
    [['gateway-ca.crt'], below.gateway],
    [pair('carrier-ca'), below.carrier],
    [pair('bureau-ca'), below.bureau],
    [pair('sam-ca'), below.sam],
    [['sam-attestation.pub'], ['sam-attestation.pub']],
    [pair('card-issuer'), below.card],
    [['carrier-ca.crl'], ['carrier-ca.crl']],
    [['card-issuer.crl'], ['card-issuer.crl']],
    [pair('card-signer-1'), pair('card-signer-1')],
    [pair('card-signer-2'), [...pair('card-signer-2'), 'card-issuer.crl']],
    [['ledger.pub'], ['ledger.pub']],
    [
      ['ledger.key', 'ledger.pub'],
      ['ledger.key', 'ledger.pub'],
    ],
    [['card-trust.jwt'], ['card-trust.jwt']],
    [
      ['card-trust.key', 'card-trust.pub'],
      ['card-trust.key', 'card-trust.pub', 'card-trust.jwt'],
    ],
    [['token.key'], ['token.key']],
    [['kek-1.key'], ['kek-1.key']],
  ]
  const directory = newFolder(t)
  for (const [deleted, made] of cases) {
    const name = `without ${deleted.join(' ')}`
    const before = printsOf(directory)
    for (const file of deleted) rmSync(join(directory, file))
    t.same(namesOf((await ensure(directory)).made), made.toSorted(), name)
    // The public half is the same again, since the key is.
    const changed = made.filter((file) => deleted.length > 1 || !file.endsWith('.pub'))
    t.same(changedSince(before, directory), changed.toSorted(), name)
    t.same((await ensure(directory)).made, [], `${name}: settled`)
  }
  t.same(opensslFaultsOfAll(directory), [])
  t.match(serialsRevoked(directory), certificateIn(directory, 'card-signer-2').serialNumber)
})

t.test('a crash at any moment leaves a folder that the next start completes', async (t) => {
  // Everything remade over an old folder, in the order of writing: each prefix is a possible state.
  const order = first.made.map((one) => one.file)
  const base = t.testdir()
  const old = join(model, 'pki')
  const renewed = join(base, 'renewed')
  await ensure(renewed)
  for (let written = 0; written <= order.length; written++) {
    const crashed = join(base, String(written))
    mkdirSync(crashed, { mode: 0o700 })
    for (const [i, file] of order.entries()) {
      copyFileSync(join(i < written ? renewed : old, file), join(crashed, file))
    }
    writeFileSync(join(crashed, '.gateway.key.0123456789ab.tmp'), 'half a k')
    t.same((await ensure(crashed)).warnings, [], `${written} written`)
    t.same(filesIn(crashed).toSorted(), allFiles.toSorted(), `${written} written: no leftovers`)
    if (written % 5 === 0) t.same(opensslFaultsOfAll(crashed), [], `${written} written`)
    t.same((await ensure(crashed)).made, [], `${written} written: settled`)
  }
})

t.test('what nears its end is renewed, not before, and CAs only bring a warning', async (t) => {
  const directory = newFolder(t)
  const lists = ['card-issuer.crl', 'card-issuer-sm2.crl', 'carrier-ca.crl']
  const signers = ['1', '2', '1-sm2', '2-sm2'].map((number) => `card-signer-${number}`)
  const ofSam = ['sam-server', 'sam-client', 'sam-reader']
  const ofBureau = ['bureau-server', 'bureau-client']
  const leaves = ['gateway', 'carrier-swift-crane', 'carrier-river-post', ...ofBureau, ...ofSam]
  const pairs = (...names: string[]) => names.flatMap((name) => [`${name}.crt`, `${name}.key`])
  const steps: [day: number, made: string[], warnings: RegExp[]][] = [
    [14.9, [], []],
    [15.1, lists, []],
    [59.9, [...lists, 'card-trust.jwt'], []],
    [60.1, pairs(...leaves), []],
    [74.5, [], []],
    [75.1, [...pairs(...signers), ...lists], []],
    [75.2, [], []],
    [
      1736,
      [...pairs(...leaves, ...signers), ...lists, 'card-trust.jwt'],
      [/^gateway-ca\.crt ends on .+Fix: delete/, /^carrier-ca\.crt/, /^bureau-ca\.crt/, /^sam-ca\.crt/],
    ],
  ]
  for (const [day, made, warnings] of steps) {
    const result = await ensure(directory, nowMs + day * dayMs)
    t.same(namesOf(result.made), made.toSorted(), `day ${day}`)
    t.match(result.warnings, warnings, `day ${day}`)
    t.equal(result.warnings.length, warnings.length, `day ${day}`)
  }
})

t.test('a list reissued keeps its entries and counts on', async (t) => {
  const directory = newFolder(t)
  const serials = [certificateIn(directory, 'card-signer-2').serialNumber]
  t.match(serialsRevoked(directory), /CRL Number:\s+1\n/)
  await ensure(directory, nowMs + 80 * dayMs)
  serials.push(certificateIn(directory, 'card-signer-2').serialNumber)
  const text = serialsRevoked(directory)
  t.match(text, /CRL Number:\s+2\n/)
  t.equal(new Set(serials).size, 2)
  for (const serial of serials) t.match(text, serial)
  const period = usagePeriodOf(certificateIn(directory, 'card-signer-1').raw)
  t.ok(period && period.notAfterMs > nowMs + 169 * dayMs)
  t.equal(serialOf(certificateIn(directory, 'card-signer-2').raw).length, 16)
})

t.test('a clock set back renews what would not be good yet', async (t) => {
  const directory = newFolder(t)
  const { made } = await ensure(directory, nowMs - dayMs)
  t.ok(namesOf(made).includes('gateway.crt') && namesOf(made).includes('card-issuer.crl'))
})

t.test('what cannot be read is named and never overwritten', async (t) => {
  for (const file of [
    'gateway-ca.crt',
    'gateway.key',
    'card-issuer.crl',
    'ledger.key',
    'ledger.pub',
    'token.key',
  ]) {
    const directory = newFolder(t)
    writeFileSync(join(directory, file), 'not what it says')
    const before = printsOf(directory)
    await t.rejects(ensure(directory), { message: new RegExp(`${file} cannot be read.+Fix: delete it`) })
    t.same(changedSince(before, directory), [], file)
  }
})

t.test('a CA key kept offline is missed only when something must be issued', async (t) => {
  const directory = newFolder(t)
  rmSync(join(directory, 'carrier-ca.key'))
  rmSync(join(directory, 'card-issuer.key'))
  t.same(await ensure(directory), { made: [], warnings: [] })
  rmSync(join(directory, 'carrier-river-post.crt'))
  rmSync(join(directory, 'card-signer-2.crt'))
  rmSync(join(directory, 'card-issuer.crl'))
  const { made, warnings } = await ensure(directory)
  t.same(made, [])
  t.match(warnings, [
    /^carrier-river-post\.crt is absent or due, and carrier-ca\.key is not here.+Fix: put it back/,
    /^card-signer-2\.crt is absent or due/,
    /^card-issuer\.crl cannot be issued again/,
  ])
})

t.test('a pinned key taken away is not replaced behind the backs of those who pinned it', async (t) => {
  const directory = newFolder(t)
  rmSync(join(directory, 'directory.key'))
  const { made, warnings } = await ensure(directory)
  t.same(made, [])
  t.match(warnings, [/^directory\.pub is here but not directory\.key/])
})

t.test('a certificate of another issuer is left alone', async (t) => {
  const directory = newFolder(t)
  for (const suffix of ['.key', '.crt']) {
    copyFileSync(join(directory, `bureau-server${suffix}`), join(directory, `gateway${suffix}`))
  }
  const { made, warnings } = await ensure(directory, nowMs + 10 * dayMs)
  t.same(made, [])
  t.match(warnings, [/^gateway\.crt was not issued by gateway-ca and is left alone/])
})

t.test('key-encryption key 1 does not come back once a later one is there', async (t) => {
  const directory = newFolder(t)
  renameSync(join(directory, 'kek-1.key'), join(directory, 'kek-2.key'))
  t.same(await ensure(directory), { made: [], warnings: [] })
})

t.test('keys that others can read bring a warning with the command that closes them', async (t) => {
  const directory = newFolder(t)
  chmodSync(join(directory, 'token.key'), 0o640)
  chmodSync(directory, 0o755)
  const { warnings } = await ensure(directory)
  t.match(warnings, [/Fix: chmod go= .+/, /token\.key is open to others.+Fix: chmod go= .+token\.key/])
})

t.test('it waits for the folder while another holds it', async (t) => {
  const directory = newFolder(t)
  const holder = new DatabaseSync(join(directory, '.lock'))
  holder.exec('begin exclusive')
  let done = false
  const waiting = ensure(directory).then(() => {
    done = true
  })
  await new Promise((resolve) => setTimeout(resolve, 100))
  t.equal(done, false)
  holder.close()
  await waiting
  t.equal(done, true)
})
