// Makes the development PKI of hierarchy.ts in a folder: what is absent is made, what exists is kept, what
// nears its end is renewed. It never runs in production, and knows nothing of who loads the files.
// Crash-safe: each file appears whole, and a half-made pair is recognised and made again at the next start.
import {
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  X509Certificate,
} from 'node:crypto'
import { mkdirSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { present } from '../src/base/assert.ts'
import { printBase64url } from '../src/base/bytes.ts'
import { dayMs, hourMs } from '../src/base/clock.ts'
import { syncFolder, temporaryPattern, withFolderLock, writeWhole } from '../src/base/folder.ts'
import { printPem } from '../src/base/pem.ts'
import { p256Signing, printSpki, sm2Signing } from '../src/pki/signing.ts'
import { isSignedBy } from '../src/pki/suites.ts'
import {
  type Issued,
  makeCardCrl,
  makeCardIssuer,
  makeDocumentSigner,
  readPem,
  serialOf,
  usagePeriodOf,
} from './card-issuer.ts'
import * as plan from './hierarchy.ts'
import { makeTlsCa, makeTlsCrl, makeTlsLeaf, readCrl } from './tls-issuer.ts'
import { makeTrustList, nextSeq } from './trust-list.ts'

/** A file that was made; `expires` is when it stops being of use by itself (a signer: may sign until). */
export type Made = { file: string; what: string; expires: Date | undefined }

/** An issuer whose key was taken away (kept offline) can still be checked against. */
type Authority = { certificate: X509Certificate; issued: Issued | undefined }

type Work = {
  directory: string
  nowMs: number
  made: Made[]
  warnings: string[]
  authorities: Map<string, Authority>
  signers: Map<string, Buffer>
}

/** Certificates begin a little early: two machines never agree to the second. */
const skewMs = hourMs
const caWarnMs = 90 * dayMs

/**
 * Brings the development PKI in `directory` up to date. Safe when several processes start at once.
 * @param options.nowMs Unix ms
 * @returns what was made, and what a person should look at
 * @throws Error naming a file that cannot be read as what it should be, or a lock held for 10 s
 */
export async function ensureDevPki(options: {
  directory: string
  nowMs: number
}): Promise<{ made: Made[]; warnings: string[] }> {
  const { directory, nowMs } = options
  mkdirSync(directory, { recursive: true, mode: 0o700 })
  const work: Work = {
    directory,
    nowMs,
    made: [],
    warnings: [],
    authorities: new Map(),
    signers: new Map(),
  }
  await withFolderLock(directory, async () => {
    for (const file of readdirSync(directory)) {
      // Under the lock nobody else is writing, so this is what a crash left.
      if (temporaryPattern.test(file)) rmSync(join(directory, file))
    }
    for (const entry of plan.hierarchy) await ensureEntry(work, entry)
    syncFolder(directory)
    checkModes(work)
  })
  return { made: work.made, warnings: work.warnings }
}

/** Lines for a person: which files were made and until when they are good. Empty if none were. */
export function printMade(made: readonly Made[]): string {
  const fileWidth = Math.max(0, ...made.map((one) => one.file.length))
  const whatWidth = Math.max(0, ...made.map((one) => one.what.length))
  return made
    .map((one) => {
      const row = `${one.file.padEnd(fileWidth)}  ${one.what.padEnd(whatWidth)}  ${printEnd(one.expires)}`
      return `${row.trimEnd()}\n`
    })
    .join('')
}

function printEnd(expires: Date | undefined): string {
  if (expires === undefined) return ''
  return expires.getUTCFullYear() === 9999 ? 'no end' : `until ${expires.toISOString().slice(0, 10)}`
}

function ensureEntry(work: Work, entry: plan.Entry): Promise<void> | void {
  switch (entry.kind) {
    case 'tls-ca':
    case 'card-ca':
      return ensureAuthority(work, entry)
    case 'tls-leaf':
      return ensureLeaf(work, entry)
    case 'card-signer':
      return ensureSigner(work, entry)
    case 'tls-crl':
    case 'card-crl':
      return ensureCrl(work, entry)
    case 'pinned-key':
      return ensurePinnedKey(work, entry)
    case 'trust-list':
      return ensureTrustList(work, entry)
    case 'p256-key':
      return ensurePlainKey(work, entry)
    case 'kek':
      return ensureKek(work, entry)
  }
}

async function ensureAuthority(work: Work, entry: plan.TlsCa | plan.CardCa): Promise<void> {
  const { certificate, key } = readPair(work, entry.name)
  if (certificate && (!key || certificate.checkPrivateKey(key))) {
    const issued = key ? { certificateDer: certificate.raw, privateKey: key } : undefined
    work.authorities.set(entry.name, { certificate, issued })
    if (certificate.validToDate.getTime() - work.nowMs < caWarnMs) {
      const end = certificate.validToDate.toISOString().slice(0, 10)
      work.warnings.push(
        `${entry.name}.crt ends on ${end}. Fix: delete ${entry.name}.* and start again; all below it is remade.`,
      )
    }
    return
  }
  const notBeforeMs = work.nowMs - skewMs
  const { commonName } = entry
  const issued =
    entry.kind === 'card-ca'
      ? makeCardIssuer({ commonName, notBeforeMs, signing: entry.curve === 'SM2' ? sm2Signing : p256Signing })
      : await makeTlsCa({ commonName, notBeforeMs, notAfterMs: work.nowMs + entry.lifeDays * dayMs })
  writePair(work, entry, issued)
  work.authorities.set(entry.name, { certificate: new X509Certificate(issued.certificateDer), issued })
}

async function ensureLeaf(work: Work, entry: plan.TlsLeaf): Promise<void> {
  const pair = readPair(work, entry.name)
  const fromMs = pair.certificate?.validFromDate.getTime() ?? 0
  const toMs = pair.certificate?.validToDate.getTime() ?? 0
  if (isKept(work, entry, { ...pair, fromMs, toMs, spareMs: (toMs - fromMs) / 3 })) return
  const issuer = issuerOf(work, entry)
  if (!issuer) return
  const issued = await makeTlsLeaf(issuer, {
    commonName: entry.commonName,
    use: entry.use,
    names: entry.names,
    notBeforeMs: work.nowMs - skewMs,
    notAfterMs: work.nowMs + entry.lifeDays * dayMs,
  })
  writePair(work, entry, issued)
}

function ensureSigner(work: Work, entry: plan.CardSigner): void {
  const pair = readPair(work, entry.name)
  if (pair.certificate) work.signers.set(entry.name, pair.certificate.raw)
  const period = pair.certificate && usagePeriodOf(pair.certificate.raw)
  const fromMs = period?.notBeforeMs ?? 0
  const toMs = period?.notAfterMs ?? 0
  // A sixth, 15 days: nothing is open or resumed under a signer, it may be used to the last day.
  if (isKept(work, entry, { ...pair, fromMs, toMs, spareMs: (entry.signsDays * dayMs) / 6 })) return
  const issuer = issuerOf(work, entry)
  if (!issuer) return
  const issued = makeDocumentSigner(issuer, {
    commonName: entry.commonName,
    notBeforeMs: work.nowMs - skewMs,
    usageNotBeforeMs: work.nowMs - skewMs,
    usageNotAfterMs: work.nowMs + entry.signsDays * dayMs,
  })
  // The old certificate is not kept: every card carries the one it was signed under.
  work.signers.set(entry.name, issued.certificateDer)
  writePair(work, entry, issued)
}

type Found = {
  certificate: X509Certificate | undefined
  key: KeyObject | undefined
  fromMs: number
  toMs: number
  spareMs: number
}

/** Whether a leaf is whole, of today's CA and good for longer than `spareMs`. */
function isKept(work: Work, entry: plan.TlsLeaf | plan.CardSigner, found: Found): boolean {
  const { certificate, key } = found
  if (!certificate || !key || !certificate.checkPrivateKey(key)) return false
  const authority = authorityOf(work, entry.issuer).certificate
  if (certificate.issuer !== authority.subject) {
    work.warnings.push(
      `${entry.name}.crt was not issued by ${entry.issuer} and is left alone. ` +
        `Fix: delete ${entry.name}.crt and ${entry.name}.key to have them made.`,
    )
    return true
  }
  if (!isSignedBy(certificate.raw, printSpki(authority.publicKey))) return false
  return found.fromMs <= work.nowMs && found.toMs - work.nowMs >= found.spareMs
}

async function ensureCrl(work: Work, entry: plan.Crl): Promise<void> {
  const file = `${entry.name}.crl`
  const authority = authorityOf(work, entry.name)
  const der = readAs(work, file, (text) => readPem('X509 CRL', text))
  const current = der && readCrl(der, authority.certificate.publicKey)
  const revoked = current?.revoked ?? []
  const missing = entry.revokes
    .flatMap((name) => work.signers.get(name) ?? [])
    .map(serialOf)
    .filter((serial) => !revoked.some((one) => one.serial.equals(serial)))
  const lifeMs = entry.lifeDays * dayMs
  if (current && missing.length === 0 && current.thisUpdateMs <= work.nowMs) {
    if (current.nextUpdateMs - work.nowMs >= lifeMs / 2) return
  }
  if (!authority.issued) {
    work.warnings.push(`${file} cannot be issued again: ${entry.name}.key is not here. Fix: put it back.`)
    return
  }
  const content = {
    thisUpdateMs: work.nowMs,
    nextUpdateMs: work.nowMs + lifeMs,
    number: (current?.number ?? 0) + 1,
    revoked: [...revoked, ...missing.map((serial) => ({ serial, atMs: work.nowMs }))],
  }
  const make = entry.kind === 'card-crl' ? makeCardCrl : makeTlsCrl
  write(work, file, printPem('X509 CRL', await make(authority.issued, content)))
  work.made.push({ file, what: entry.what, expires: new Date(content.nextUpdateMs) })
}

function ensurePinnedKey(work: Work, entry: plan.PinnedKey): void {
  const pub = readAs(work, `${entry.name}.pub`, createPublicKey)
  let key = readAs(work, `${entry.name}.key`, createPrivateKey)
  if (!key && pub) {
    // Others have pinned it: a new pair would silently cut them off.
    work.warnings.push(
      `${entry.name}.pub is here but not ${entry.name}.key. Fix: put it back, or delete ${entry.name}.pub ` +
        'for a new pair.',
    )
    return
  }
  if (!key) {
    key =
      entry.curve === 'P-256'
        ? generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey
        : generateKeyPairSync('ed25519').privateKey
    writeKey(work, entry.name, key)
    work.made.push({ file: `${entry.name}.key`, what: entry.what, expires: undefined })
  }
  const half = createPublicKey(key)
  if (pub?.equals(half)) return
  write(work, `${entry.name}.pub`, half.export({ format: 'pem', type: 'spki' }).toString())
  work.made.push({ file: `${entry.name}.pub`, what: `public half of the ${entry.what}`, expires: undefined })
}

function ensureTrustList(work: Work, entry: plan.TrustList): void {
  const file = `${entry.name}.jwt`
  const key = readAs(work, `${entry.name}.key`, createPrivateKey)
  const pinned = readAs(work, `${entry.name}.pub`, createPublicKey)
  const issuers = entry.trusts.map((name) => ({ name, certificate: authorityOf(work, name).certificate }))
  const wanted = { issuers, nowMs: work.nowMs, lifeDays: entry.lifeDays }
  const own = present(pinned, `${entry.name}.pub`)
  const read = readAs(work, file, (text) => ({ seq: nextSeq(text.trim(), own, wanted) }))
  const { seq } = read ?? { seq: nextSeq(undefined, own, wanted) }
  if (seq === undefined) return
  if (!key) {
    work.warnings.push(`${file} cannot be signed again: ${entry.name}.key is not here. Fix: put it back.`)
    return
  }
  write(work, file, `${makeTrustList(seq, key, wanted)}\n`)
  const expires = new Date(work.nowMs + entry.lifeDays * dayMs)
  work.made.push({ file, what: entry.what, expires })
}

function ensurePlainKey(work: Work, entry: plan.PlainKey): void {
  if (readAs(work, `${entry.name}.key`, createPrivateKey)) return
  writeKey(work, entry.name, generateKeyPairSync('ec', { namedCurve: 'prime256v1' }).privateKey)
  work.made.push({ file: `${entry.name}.key`, what: entry.what, expires: undefined })
}

/** Any version counts: version 1 is deleted for good by `keys destroy`, and must not come back. */
function ensureKek(work: Work, entry: plan.Kek): void {
  const pattern = new RegExp(`^${entry.name}-\\d+\\.key$`)
  if (readdirSync(work.directory).some((file) => pattern.test(file))) return
  const file = `${entry.name}-1.key`
  write(work, file, `${printBase64url(randomBytes(32))}\n`)
  work.made.push({ file, what: entry.what, expires: undefined })
}

const authorityOf = (work: Work, name: string) => present(work.authorities.get(name), `issuer ${name}`)

/** The issuer with its key; if that was taken away, undefined and a warning. */
function issuerOf(work: Work, entry: { name: string; issuer: string }): Issued | undefined {
  const { issued } = authorityOf(work, entry.issuer)
  if (!issued) {
    work.warnings.push(
      `${entry.name}.crt is absent or due, and ${entry.issuer}.key is not here to issue it. ` +
        `Fix: put it back, or delete ${entry.issuer}.crt for a new CA.`,
    )
  }
  return issued
}

function readPair(work: Work, name: string) {
  return {
    certificate: readAs(work, `${name}.crt`, (text) => new X509Certificate(text)),
    key: readAs(work, `${name}.key`, createPrivateKey),
  }
}

/** Reads one file; undefined if it is absent. What is there but unreadable is never overwritten. */
function readAs<T>(work: Work, file: string, parse: (text: string) => T): T | undefined {
  const path = join(work.directory, file)
  try {
    return parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException
    if (code === 'ENOENT') return undefined
    if (syscall) throw cause
    throw new Error(`${path} cannot be read as what its name says. Fix: delete it and start again.`, {
      cause,
    })
  }
}

function writePair(work: Work, entry: { name: string; what: string }, issued: Issued): void {
  // If we die between the two, the pair does not match and the next start makes it again.
  writeKey(work, entry.name, issued.privateKey)
  write(work, `${entry.name}.crt`, printPem('CERTIFICATE', issued.certificateDer))
  const end = usagePeriodOf(issued.certificateDer)?.notAfterMs
  const expires = end === undefined ? new X509Certificate(issued.certificateDer).validToDate : new Date(end)
  work.made.push({ file: `${entry.name}.key`, what: `private key: ${entry.what}`, expires: undefined })
  work.made.push({ file: `${entry.name}.crt`, what: entry.what, expires })
}

const writeKey = (work: Work, name: string, key: KeyObject) =>
  write(work, `${name}.key`, key.export({ format: 'pem', type: 'pkcs8' }).toString())

/** Keys are for their owner only. */
const write = (work: Work, file: string, text: string) =>
  writeWhole(work.directory, file, { text, mode: file.endsWith('.key') ? 0o600 : 0o644 })

function checkModes(work: Work): void {
  const keys = readdirSync(work.directory).filter((file) => file.endsWith('.key'))
  for (const path of [work.directory, ...keys.map((file) => join(work.directory, file))]) {
    if ((statSync(path).mode & 0o077) === 0) continue
    work.warnings.push(`${path} is open to others on this machine. Fix: chmod go= ${path}`)
  }
}
