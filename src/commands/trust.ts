// `vouchsafe trust`: signs the list of card issuers, an operator's offline act, and says what is in one (docs/TRUST.md).
import { createPrivateKey, createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { basename, dirname, join, resolve } from 'node:path'
import { printBase64url, sha256 } from '../base/bytes.ts'
import { dayMs } from '../base/clock.ts'
import { writeWhole } from '../base/folder.ts'
import { parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import { derOf } from '../base/pem.ts'
import { parseDecimal } from '../base/text.ts'
import { keptNameOf } from '../list-places.ts'
import { parseCrl } from '../pki/revocation.ts'
import {
  issuerNameOf,
  type ListedAnchor,
  openTrustList,
  placeKind,
  signTrustList,
  type TrustedIssuer,
  type TrustList,
  TrustListError,
} from '../pki/trust-list.ts'
import { trustFiles } from '../trust-file.ts'
import type { CommandContext } from './context.ts'
import { exit, parseCommand, UsageError } from './io.ts'

const help = `vouchsafe trust: which card issuers are trusted, for which suite, state and authorities

  vouchsafe trust sign issuers.json --key card-trust.key --out card-trust.jwt
  vouchsafe trust sign issuers.json --key card-trust.key --out card-trust.jwt --days 90 --seq 12
  vouchsafe trust show                          the list in VOUCHSAFE_CERTS, with what is known of revocations
  vouchsafe trust show card-trust.jwt --pub card-trust.pub

issuers.json is an array of one object for each issuer, all members needed:
  [{"certificate": "card-issuer.crt", "suite": 1, "state": "CHN", "authorities": [],
    "lists": ["https://issuer.example/card-issuer.crl"]}]
certificate  the CA, PEM or DER, a file beside issuers.json
suite        1 P-256, 2 SM2
authorities  what the issuing authority on a card must begin with, one of these; [] is every one
lists        where its revocation list is: https: or http: URLs, or names of .crl files in VOUCHSAFE_CERTS

A list replaces the one before it whole, and must have a higher number: without --seq one more than that of the list at
--out, or the time in s if there is none. It holds for 90 days, or --days from 1 to 400. Gateways take it within a second.
Sign where the key is kept, offline; docs/TRUST.md says how to make the key and how to drop an issuer at once.`

const options = {
  help: { type: 'boolean' },
  key: { type: 'string' },
  out: { type: 'string' },
  days: { type: 'string' },
  seq: { type: 'string' },
  pub: { type: 'string' },
} as const

type Io = Pick<CommandContext, 'clock' | 'dataDir' | 'certsDir' | 'out' | 'err'>

/** @returns exit code: 0 done, 1 refused, 64 usage */
export async function runTrust(args: string[], io: Io): Promise<number> {
  try {
    const { values, positionals } = parseCommand(args, options)
    const [verb, file, ...more] = positionals
    if (values.help) {
      io.out(help)
      return exit.ok
    }
    if (verb === 'show' && more.length === 0) return show(file, values.pub, io)
    const { key, out } = values
    if (verb === 'sign' && file && key && out && more.length === 0) {
      const days = parseNumber(values.days, '--days', limits.trustLifeS / 86_400) ?? 90
      return signFile({ file, key, out, days, seq: parseNumber(values.seq, '--seq') }, io)
    }
    io.err(help)
    return exit.usage
  } catch (error) {
    if (error instanceof UsageError) {
      io.err(`${error.message} See "vouchsafe trust --help".`)
      return exit.usage
    }
    if (!(error instanceof TrustListError)) throw error
    io.err(error.message)
    return exit.refused
  }
}

function parseNumber(text: string | undefined, name: string, max = Number.MAX_SAFE_INTEGER) {
  if (text === undefined) return undefined
  const value = parseDecimal(text)
  if (value !== undefined && value >= 1 && value <= max) return value
  throw new UsageError(`${name} ${JSON.stringify(text)} is not accepted: give a number from 1 to ${max}.`)
}

type Signing = { file: string; key: string; out: string; days: number; seq: number | undefined }

function signFile({ file, key: keyFile, out, days, seq: given }: Signing, io: Io): number {
  const key = createPrivateKey(readFileSync(keyFile))
  if (key.asymmetricKeyType !== 'ed25519') throw new UsageError(`${keyFile} is not an Ed25519 key.`)
  const last = existsSync(out)
    ? openTrustList(readFileSync(out, 'utf8').trim(), createPublicKey(key))
    : undefined
  const iat = Math.floor(io.clock.now() / 1000)
  const seq = given ?? (last ? last.seq + 1 : iat)
  if (last && seq <= last.seq) {
    throw new UsageError(`--seq ${seq} is not above ${last.seq}, the number of the list at ${out}.`)
  }
  const anchors = readIssuers(file)
  const jws = signTrustList({ seq, iat, exp: iat + days * 86_400, anchors }, key)
  const list = openTrustList(jws, createPublicKey(key)) // As a gateway will.
  writeWhole(dirname(resolve(out)), basename(out), { text: `${jws}\n`, mode: 0o644 })
  sayList(list, io)
  sayChanges(list, last, io)
  io.out(`${out} is signed. Put it in VOUCHSAFE_CERTS of every gateway as ${trustFiles.list}.`)
  return exit.ok
}

/** The issuers of a file, each with its certificate in place of the name of its file. */
function readIssuers(file: string): ListedAnchor[] {
  const parsed = parseJson(readFileSync(file, 'utf8'))
  if (!parsed || !Array.isArray(parsed.value)) throw new UsageError(`${file} is no JSON array.`)
  return parsed.value.map((anchor: { certificate?: unknown } | null) => {
    const name = anchor?.certificate
    if (typeof name !== 'string') return anchor as unknown as ListedAnchor // signTrustList says what is wrong.
    const certificate = printBase64url(derOf(readFileSync(resolve(dirname(file), name))))
    return { ...(anchor as ListedAnchor), certificate }
  })
}

const date = (ms: number) => `${new Date(ms).toISOString().slice(0, 16).replace('T', ' ')} UTC`

/** The subject on one line and without a control character, whatever is in the certificate. */
const nameOf = ({ certificate }: TrustedIssuer) =>
  (new X509Certificate(certificate).subject ?? '').replaceAll('\n', ', ').replaceAll(/\p{Cc}/gu, '?')

function sayList(list: TrustList, io: Io): void {
  const left = Math.round((list.notAfterMs - io.clock.now()) / dayMs)
  const end =
    list.notAfterMs < io.clock.now() ? 'it has ended: every card gets 503 trust_stale' : `${left} days left`
  io.out(`Number ${list.seq}, signed ${date(list.issuedMs)}, ends ${date(list.notAfterMs)} (${end}).`)
  for (const [i, issuer] of list.issuers.entries()) {
    const { suite, state, authorities } = issuer.anchor
    io.out(`${i + 1}. ${nameOf(issuer)}`)
    io.out(`   certificate SHA-256 ${sha256(issuer.certificate).toString('hex')}`)
    io.out(`   suite ${suite.id} (${suite.name}), cards of ${state}`)
    io.out(`   authorities: ${authorities.length === 0 ? 'all' : authorities.join(' ')}`)
    io.out(`   revocation list: ${issuer.lists.join(' ')}`)
  }
}

function sayChanges(list: TrustList, last: TrustList | undefined, io: Io): void {
  if (!last) return
  const namesOf = ({ issuers }: TrustList) => new Set(issuers.map(issuerNameOf))
  const [now, before] = [namesOf(list), namesOf(last)]
  for (const issuer of list.issuers)
    if (!before.has(issuerNameOf(issuer))) io.out(`New:     ${nameOf(issuer)}`)
  for (const issuer of last.issuers)
    if (!now.has(issuerNameOf(issuer))) io.out(`Dropped: ${nameOf(issuer)}; its cards are refused.`)
}

function show(file: string | undefined, pub: string | undefined, io: Io): number {
  const path = file ?? join(io.certsDir, trustFiles.list)
  const key: KeyObject = createPublicKey(readFileSync(pub ?? join(io.certsDir, trustFiles.pinned)))
  const list = openTrustList(readFileSync(path, 'utf8').trim(), key)
  io.out(`${path} is signed by ${pub ?? join(io.certsDir, trustFiles.pinned)}.`)
  sayList(list, io)
  for (const [i, issuer] of list.issuers.entries()) {
    for (const place of issuer.lists)
      io.out(`Revocations of ${i + 1}, ${place}: ${describeList(place, issuer, io)}.`)
  }
  return exit.ok
}

/** What lies here of a place: a file itself, or the last list that a gateway fetched from a URL. */
function describeList(place: string, { anchor }: TrustedIssuer, io: Io): string {
  const isFile = placeKind(place) === 'file'
  const file = isFile ? join(io.certsDir, place) : join(io.dataDir, keptNameOf(place))
  if (!existsSync(file))
    return isFile ? `${file} is not there` : 'not fetched yet by a gateway of this data folder'
  try {
    const list = parseCrl(derOf(readFileSync(file)), [anchor])
    const fresh = list.isFresh(io.clock.now()) ? 'fresh' : 'not fresh'
    return `${fresh}, from ${date(list.thisUpdateMs)} until ${date(list.nextUpdateMs)}`
  } catch (error) {
    return error instanceof Error ? error.message.replace(/\.$/, '') : String(error)
  }
}
