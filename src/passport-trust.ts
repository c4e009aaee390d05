// The CSCAs of passports and their revocation lists, from a folder that is followed: another object after each change,
// so that whoever remembers what it proved forgets it. Which state a file is for is its name, and the operator's word.
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { sha256 } from './base/bytes.ts'
import type { Clock } from './base/clock.ts'
import { DerError } from './base/der.ts'
import { limits } from './base/limits.ts'
import { readPem } from './base/pem.ts'
import {
  loadCsca,
  type PassportAnchor,
  type PassportTrust,
  parsePassportList,
} from './card/passport/trust.ts'
import { type Revocations, rollbackOf } from './pki/revocation.ts'

type Log = { error(fields: unknown, message?: string): void }

/** `UTO.crt`, `UTO-2.crt`, `UTO.crl`: as many as a state has keys in use. */
const named = /^([A-Z]{3})(?:-[1-9]\d?)?\.(crt|crl)$/
const fix = 'Fix: see docs/PASSPORTS.md.'

/** A list of a file, and the key of ours that signed it. */
type Listed = { keyName: string; list: Revocations }

type Options = {
  folder: string
  clock: Pick<Clock, 'now'>
  log: Log
  lookMs?: number
}

/**
 * @param options.folder of CSCAs and lists, DER or PEM; `lookMs` how often it is looked at
 * @throws Error if what is there is not good to begin with
 */
export function followPassportTrust(options: Options): { current(): PassportTrust; close(): void } {
  const { folder, log, lookMs = limits.cscaLookMs } = options
  if (!existsSync(folder)) throw new Error(`PASSPORT_CSCA: ${folder} is not there. ${fix}`)
  const reader = new FolderReader(options)
  let times = timesOf(folder)
  let current = reader.read((error) => {
    throw error
  })
  if (current.anchors.length === 0) throw new Error(`PASSPORT_CSCA: ${folder} holds no CSCA. ${fix}`)

  function look(): void {
    try {
      const now = timesOf(folder)
      if (now === times) return
      times = now // Also of what is no good: it is told once, and read again when it changes.
      current = reader.read((err) => log.error({ err }, 'passport issuers not read'))
    } catch (err) {
      log.error({ err }, 'passport issuers not read') // What was good stands until its lists are stale.
    }
  }
  const timer = setInterval(look, lookMs).unref()
  return { current: () => current, close: () => clearInterval(timer) }
}

/** Changes with each file that comes, goes or is written. */
function timesOf(folder: string): string {
  const rows = readdirSync(folder).map((name) => {
    const { mtimeMs, size, ino } = statSync(join(folder, name))
    return `${name} ${mtimeMs} ${size} ${ino}`
  })
  return rows.sort().join('\n')
}

/** By name and key: a state that changes its key keeps its name, and the new key begins its own lists. */
const keyNameOf = ({ state, subject, spki }: PassportAnchor) =>
  `${state} ${sha256(subject, spki).toString('hex')}`

/** Reads the folder again and again. What one file spoils is of that file alone. */
class FolderReader {
  readonly #options: Options
  #anchors: readonly PassportAnchor[] = []
  /** The last good list of each file that is there. */
  readonly #lists = new Map<string, Listed>()
  /** The newest list that each key ever signed for us: also while no file has it. */
  readonly #newest = new Map<string, Revocations>()

  constructor(options: Options) {
    this.#options = options
  }

  /** @param onFault told of each file that is no good; what it said before stands */
  read(onFault: (error: unknown) => void): PassportTrust {
    const { folder } = this.#options
    const files = readdirSync(folder)
      .filter((name) => /\.(crt|crl)$/i.test(name))
      .sort()
    try {
      this.#anchors = files.filter(isCertificate).map((name) => loadNamed(folder, name))
    } catch (error) {
      onFault(error) // One that is half written must not drop its state.
    }
    const lists = files.filter((name) => !isCertificate(name))
    for (const name of this.#lists.keys()) if (!lists.includes(name)) this.#lists.delete(name)
    for (const name of lists) {
      try {
        this.#lists.set(name, this.#readList(name))
      } catch (error) {
        onFault(error)
      }
    }
    const keyNames = new Set(this.#anchors.map(keyNameOf))
    // Signed by a key that is no longer trusted: nobody's list.
    for (const [name, { keyName }] of this.#lists) if (!keyNames.has(keyName)) this.#lists.delete(name)
    return trustIn(this.#anchors, [...this.#lists.values()])
  }

  #readList(name: string): Listed {
    const { folder, clock } = this.#options
    const file = join(folder, name)
    const own = this.#anchors.filter(({ state }) => state === stateOf(folder, name))
    const { anchor, list } = findSigner(readEither(file), own, file)
    const keyName = keyNameOf(anchor)
    const newest = this.#newest.get(keyName)
    // It would push out one that is fresh now, and nothing older could ever follow.
    const isFuture = list.thisUpdateMs > clock.now() + limits.clockSkewS * 1000
    const fault = isFuture ? 'it is of the future' : newest && rollbackOf(list, newest)
    if (fault && newest) {
      this.#options.log.error({ file: name, fault }, 'revocation list of passports not taken')
      return { keyName, list: newest }
    }
    if (fault) throw new Error(`PASSPORT_CSCA: ${file} is not taken: ${fault}. ${fix}`)
    this.#newest.set(keyName, list)
    return { keyName, list }
  }
}

function stateOf(folder: string, name: string): string {
  const state = named.exec(name)?.[1]
  if (state) return state
  throw new Error(`PASSPORT_CSCA: ${join(folder, name)} has a name that says no state. ${fix}`)
}

/** The key of the state that signed the list. @throws Error if none did */
function findSigner(der: Buffer, own: readonly PassportAnchor[], file: string) {
  let cause: unknown
  for (const anchor of own) {
    try {
      return { anchor, list: parsePassportList(der, [anchor]) }
    } catch (error) {
      cause = error
    }
  }
  const why = cause instanceof Error ? cause.message : 'it is signed by none of the state’s CSCAs'
  throw new Error(`PASSPORT_CSCA: ${file} is not accepted: ${why} ${fix}`, { cause })
}

/** A signer is revoked by any list in its issuer's name, and nothing is decided unless all of them are fresh. */
function trustIn(anchors: readonly PassportAnchor[], listed: readonly Listed[]): PassportTrust {
  const byAnchor = new Map(
    anchors.map((anchor) => {
      const ofState = new Set(
        anchors.filter(({ state }) => state === anchor.state).map((other) => keyNameOf(other)),
      )
      const covering = listed.filter(
        ({ keyName, list }) => ofState.has(keyName) && list.covers(anchor.subject),
      )
      return [anchor, joinLists([...new Set(covering.map(({ list }) => list))])]
    }),
  )
  return { anchors, notAfterMs: Number.POSITIVE_INFINITY, listOf: (anchor) => byAnchor.get(anchor) }
}

function joinLists(lists: readonly Revocations[]): Revocations | undefined {
  const [first, ...more] = lists
  if (!first || more.length === 0) return first
  return {
    ...first,
    thisUpdateMs: Math.min(...lists.map((list) => list.thisUpdateMs)),
    nextUpdateMs: Math.min(...lists.map((list) => list.nextUpdateMs)),
    isFresh: (nowMs) => lists.every((list) => list.isFresh(nowMs)),
    has: (serial) => lists.some((list) => list.has(serial)),
    hasHex: (serial) => lists.some((list) => list.hasHex(serial)),
  }
}

const isCertificate = (name: string) => name.endsWith('.crt')

/** States publish DER, operators keep PEM. */
function readEither(file: string): Buffer {
  const bytes = readFileSync(file)
  return bytes[0] === 0x30 ? bytes : readPem(file)
}

function loadNamed(folder: string, name: string): PassportAnchor {
  const file = join(folder, name)
  const state = stateOf(folder, name)
  try {
    return loadCsca(readEither(file), state)
  } catch (error) {
    if (!(error instanceof DerError)) throw error
    throw new Error(`PASSPORT_CSCA: ${file} is not accepted: ${error.message}. ${fix}`, { cause: error })
  }
}
