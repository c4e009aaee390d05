// The signed list of card issuers in its file, read again when it changes. The list in use is only ever followed by a later
// one, across restarts too: the last number is kept in the data folder, for each key that was ever pinned.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { printBase64url, sha256 } from './base/bytes.ts'
import type { Clock } from './base/clock.ts'
import { syncFolder, writeWhole } from './base/folder.ts'
import { limits } from './base/limits.ts'
import { parseDecimal } from './base/text.ts'
import { followFiles } from './followed-files.ts'
import { openTrustList, type TrustList } from './pki/trust-list.ts'

export const trustFiles = {
  list: 'card-trust.jwt',
  pinned: 'card-trust.pub',
  seen: 'card-trust.seq',
} as const

type Log = { error(fields: unknown, message?: string): void; info(fields: unknown, message?: string): void }

export type FollowedTrust = {
  current(): TrustList
  /** Told of each later list once it is in force. It must not throw. */
  onChange(listener: () => void): void
  /** Looks at the file now. */
  look(): void
  close(): void
}

/** @throws Error with what to do if there is no list to begin with, or an older one than was in use before */
export function followTrustFile(options: {
  certsDir: string
  dataDir: string
  clock: Clock
  log: Log
}): FollowedTrust {
  const { certsDir, dataDir, clock, log } = options
  const file = join(certsDir, trustFiles.list)
  const key = createPublicKey(readFileSync(join(certsDir, trustFiles.pinned)))
  const seen = new SeenList(dataDir, key)
  const readText = () => readFileSync(file, 'utf8').trim()
  const listeners = new Set<() => void>()
  let current = openTrustList(readText(), key)
  assertIssued(current, clock.now())
  seen.keep(current)

  function look(): void {
    try {
      const text = readText()
      if (text === current.jws) return // Not opened again: a thousand issuers take a tenth of a second.
      const next = openTrustList(text, key)
      assertIssued(next, clock.now())
      assertHolds(next, clock.now())
      seen.keep(next) // If we die here, the next start reads this list too.
      current = next
    } catch (err) {
      log.error({ err }, 'card trust list not taken') // The one in force stays.
      return
    }
    const { seq, issuers } = current
    log.info({ seq, issuers: issuers.length }, 'card trust list in force')
    for (const listener of listeners) listener()
  }

  return {
    current: () => current,
    onChange: (listener) => listeners.add(listener),
    look,
    close: followFiles([file], look),
  }
}

function assertIssued({ issuedMs }: TrustList, nowMs: number): void {
  if (issuedMs <= nowMs + limits.trustSkewMs) return
  throw new Error(
    `The card trust list was signed in the future, ${new Date(issuedMs).toISOString()}. ` +
      'Fix: set the clock right, here or where it is signed, and sign it again.',
  )
}

/** Of a later list only: at the start one that has ended is in force, decides nothing, and is waited out. */
function assertHolds({ notAfterMs }: TrustList, nowMs: number): void {
  if (nowMs <= notAfterMs) return
  throw new Error(
    `The card trust list ended at ${new Date(notAfterMs).toISOString()}. Fix: sign one that holds.`,
  )
}

type Seen = { keyId: string; seq: number; hash: string }

/** The last list that was in force, by pinned key, in a file of the data folder: a line `key seq hash` for each. */
class SeenList {
  readonly #dataDir: string
  readonly #keyId: string

  constructor(dataDir: string, key: KeyObject) {
    this.#dataDir = dataDir
    this.#keyId = printBase64url(sha256(key.export({ format: 'der', type: 'spki' })))
  }

  /**
   * Makes the list the last one, durable before it is in force. The file is read each time: another gateway may share it.
   * @throws Error with what to do if a later list was in force, or another of the same number
   */
  keep({ seq, jws }: TrustList): void {
    const hash = printBase64url(sha256(Buffer.from(jws)))
    const all = this.#read()
    const last = all.find(({ keyId }) => keyId === this.#keyId)
    if (last?.seq === seq && last.hash === hash) return
    if (last && last.seq >= seq) {
      const what = last.seq === seq ? 'another list of this number' : `number ${last.seq}`
      throw new Error(
        `The card trust list has number ${seq}, and ${what} was in force before. ` +
          `Fix: put the last list back, or sign one with --seq ${last.seq + 1} or higher; see docs/TRUST.md.`,
      )
    }
    const rows = [...all.filter((row) => row !== last), { keyId: this.#keyId, seq, hash }]
    const text = rows.map((row) => `${row.keyId} ${row.seq} ${row.hash}\n`).join('')
    writeWhole(this.#dataDir, trustFiles.seen, { text, mode: 0o600 })
    syncFolder(this.#dataDir)
  }

  #read(): Seen[] {
    const file = join(this.#dataDir, trustFiles.seen)
    if (!existsSync(file)) return []
    const lines = readFileSync(file, 'utf8').split('\n')
    if (lines.at(-1) === '')
      lines.pop() // What ends without a newline was not written by us.
    else lines.push('')
    return lines.map((line) => {
      const [, keyId, number, hash] = /^([\w-]{43}) (\d+) ([\w-]{43})$/.exec(line) ?? []
      const seq = parseDecimal(number ?? '')
      if (keyId !== undefined && hash !== undefined && seq !== undefined) return { keyId, seq, hash }
      throw new Error(
        `${file} is damaged, so it is not known which card trust list was the last. ` +
          'Fix: make sure that card-trust.jwt is the last one that was signed, and delete this file.',
      )
    })
  }
}
