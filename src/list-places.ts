// Where revocation lists of card issuers are found: files that are followed, URLs that are fetched and whose last good list
// is kept in the data folder. Whether what a place gives is any good, the issuer's list says.
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { sha256 } from './base/bytes.ts'
import type { Clock } from './base/clock.ts'
import { writeWhole } from './base/folder.ts'
import type { FetchBytes } from './base/http.ts'
import { derOf, printPem } from './base/pem.ts'
import { followFiles } from './followed-files.ts'
import type { IssuerList } from './issuer-list.ts'
import { type FetchOutcome, ListFetcher } from './list-fetcher.ts'

export type ListPlace = {
  /** Looks whether there is something to do: each second. */
  tick(): void
  /** Reads what lies in a file: now and then, whatever was told. */
  look(): void
  /** A list was found to be stale. */
  hurry(): void
  close(): void
}

export type PlaceContext = {
  certsDir: string
  dataDir: string
  clock: Clock
  random: () => number
  everyMs: number
  getBytes: FetchBytes
  /** False while as many fetches are under way as there may be. */
  mayFetch(): boolean
  onFetch(event: 'begun' | FetchOutcome): void
  log: Record<'warn' | 'error', (fields: unknown, message: string) => void>
}

export function openFilePlace(name: string, context: PlaceContext, list: IssuerList): ListPlace {
  const { certsDir, clock, log } = context
  const file = join(certsDir, name)

  function look(): void {
    try {
      list.take(readFileSync(file), clock.now())
    } catch (err) {
      log.error({ err, place: name }, 'revocation list not taken') // The one in force stays until it ends.
    }
  }

  look()
  const close = followFiles([file], look)
  return { look, tick() {}, hurry() {}, close }
}

/** The last good list of a URL, in the data folder. */
export const keptNameOf = (url: string): string =>
  `card-list-${sha256(Buffer.from(url)).toString('hex').slice(0, 32)}.crl`

export function openUrlPlace(url: string, context: PlaceContext, list: IssuerList): ListPlace {
  const { dataDir, clock, log, getBytes, onFetch } = context
  const place = new URL(url).origin + new URL(url).pathname // A query may hold a password.
  const kept = keptNameOf(url)

  function take(bytes: Buffer): FetchOutcome {
    try {
      const taken = list.take(bytes, clock.now())
      if (taken === 'newer') keep(bytes)
      return taken
    } catch (err) {
      log.warn({ err, place }, 'revocation list not taken')
      return 'refused'
    }
  }

  function keep(bytes: Buffer): void {
    try {
      writeWhole(dataDir, kept, { text: printPem('X509 CRL', derOf(bytes)), mode: 0o600 })
    } catch (err) {
      log.error({ err, place }, 'revocation list not kept') // In force all the same: the next start fetches it.
    }
  }

  async function fetch(): Promise<FetchOutcome> {
    onFetch('begun')
    let outcome: FetchOutcome = 'failed'
    try {
      const { status, bytes } = await getBytes(url)
      if (status === 200) outcome = take(bytes)
      else log.warn({ status, place }, 'revocation list not fetched')
    } catch (err) {
      log.warn({ err, place }, 'revocation list not fetched')
    }
    onFetch(outcome)
    return outcome
  }

  if (existsSync(join(dataDir, kept))) {
    try {
      list.take(readFileSync(join(dataDir, kept)), clock.now())
    } catch (err) {
      log.warn({ err, place }, 'kept revocation list not taken') // Of an issuer that was replaced, or damaged.
    }
  }
  const endMs = () => list.current()?.nextUpdateMs
  const { random, everyMs, mayFetch } = context
  const fetcher = new ListFetcher({ clock, random, everyMs, fetch, endMs })
  return {
    look() {},
    tick: () => mayFetch() && fetcher.tick(),
    hurry: () => mayFetch() && fetcher.hurry(),
    close() {},
  }
}
