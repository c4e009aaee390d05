// The CSCAs of passports and their revocation lists, from a folder that is followed: another object after each change,
// so that whoever remembers what it proved forgets it. Which state a file is for is its name, and the operator's word.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { sha256 } from './base/bytes.ts'
import { DerError } from './base/der.ts'
import { limits } from './base/limits.ts'
import { readPem } from './base/pem.ts'
import {
  loadCsca,
  type PassportAnchor,
  type PassportTrust,
  parsePassportList,
} from './card/passport/trust.ts'
import type { Revocations } from './pki/revocation.ts'

type Log = { error(fields: unknown, message?: string): void }

/** `UTO.crt`, `UTO-2.crt`, `UTO.crl`: as many as a state has keys in use. */
const named = /^([A-Z]{3})(?:-[1-9]\d?)?\.(crt|crl)$/
const fix = 'Fix: see docs/PASSPORTS.md.'

type Found = { trust: PassportTrust; print: string; lists: ReadonlyMap<string, Revocations> }

/**
 * @param options.folder of CSCAs and lists, DER or PEM; `lookMs` how often it is looked at
 * @throws Error if what is there is not good to begin with
 */
export function followPassportTrust(options: { folder: string; log: Log; lookMs?: number }): {
  current(): PassportTrust
  close(): void
} {
  const { folder, log, lookMs = limits.cscaLookMs } = options
  if (!existsSync(folder)) throw new Error(`PASSPORT_CSCA: ${folder} is not there. ${fix}`)
  let times = timesOf(folder)
  let found = readTrust(folder, log)
  if (found.trust.anchors.length === 0) throw new Error(`PASSPORT_CSCA: ${folder} holds no CSCA. ${fix}`)

  function look(): void {
    try {
      const now = timesOf(folder)
      if (now === times) return
      times = now // Also of what is no good: it is told once, and read again when it changes.
      const next = readTrust(folder, log, found)
      if (next.print !== found.print) found = next
    } catch (err) {
      log.error({ err }, 'passport issuers not read') // What was good stands until its lists are stale.
    }
  }
  const timer = setInterval(look, lookMs).unref()
  return { current: () => found.trust, close: () => clearInterval(timer) }
}

/** Changes with each file that comes, goes or is written. */
function timesOf(folder: string): string {
  const rows = readdirSync(folder).map((name) => {
    const { mtimeMs, size, ino } = statSync(join(folder, name))
    return `${name} ${mtimeMs} ${size} ${ino}`
  })
  return rows.sort().join('\n')
}

function readTrust(folder: string, log: Log, before?: Found): Found {
  const files = readdirSync(folder)
    .filter((name) => /\.(crt|crl)$/i.test(name))
    .sort()
  const anchors: PassportAnchor[] = []
  const lists = new Map<string, Revocations>()
  const parts: Buffer[] = []
  for (const name of [...files.filter(isCertificate), ...files.filter((name) => !isCertificate(name))]) {
    const state = named.exec(name)?.[1]
    if (!state) throw new Error(`PASSPORT_CSCA: ${join(folder, name)} has a name that says no state. ${fix}`)
    const der = readEither(join(folder, name))
    parts.push(Buffer.from(name), der)
    if (isCertificate(name)) anchors.push(loadNamed(der, { state, file: join(folder, name) }))
    else {
      const own = anchors.filter((anchor) => anchor.state === state)
      lists.set(name, newerOf(parsePassportList(der, own), before?.lists.get(name), log))
    }
  }
  const all = [...lists.entries()]
  const listOf = ({ state, subject }: PassportAnchor) =>
    all
      .filter(([name, list]) => name.startsWith(state) && list.covers(subject))
      .map(([, list]) => list)
      .sort((a, b) => b.thisUpdateMs - a.thisUpdateMs)[0]
  const print = sha256(...parts).toString('hex')
  return { trust: { anchors, notAfterMs: Number.POSITIVE_INFINITY, listOf }, print, lists }
}

const isCertificate = (name: string) => name.endsWith('.crt')

/** States publish DER, operators keep PEM. */
function readEither(file: string): Buffer {
  const bytes = readFileSync(file)
  return bytes[0] === 0x30 ? bytes : readPem(file)
}

function loadNamed(der: Buffer, { state, file }: { state: string; file: string }): PassportAnchor {
  try {
    return loadCsca(der, state)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw new Error(`PASSPORT_CSCA: ${file} is not accepted: ${error.message}. ${fix}`, { cause: error })
  }
}

/** An older list would forget who was revoked since. */
function newerOf(next: Revocations, before: Revocations | undefined, log: Log): Revocations {
  if (!before || next.thisUpdateMs >= before.thisUpdateMs) return next
  log.error('revocation list older than the one in use')
  return before
}
