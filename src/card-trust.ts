// The card issuers that are trusted and their revocation lists, as one object for the checks: another one after each change,
// so that whoever remembers what it proved forgets it (PROTOCOL section 6, docs/TRUST.md).
import { randomInt } from 'node:crypto'
import type { Metrics } from '../plugins/metrics.ts'
import { type Clock, dayMs } from './base/clock.ts'
import type { Config } from './base/config.ts'
import { openGetter } from './base/http.ts'
import { limits } from './base/limits.ts'
import { IssuerList } from './issuer-list.ts'
import { type ListPlace, openFilePlace, openUrlPlace, type PlaceContext } from './list-places.ts'
import type { CardAnchor, CardTrust } from './pki/anchors.ts'
import { issuerNameOf, placeKind, type TrustList } from './pki/trust-list.ts'
import { followTrustFile } from './trust-file.ts'

type Log = Record<'info' | 'warn' | 'error', (fields: unknown, message?: string) => void>

export type FollowedCardTrust = {
  current(): CardTrust
  /** The list of issuers holds, and the revocation list of at least one of them is fresh. */
  isFresh(nowMs: number): boolean
  /** What a timer does each second. */
  tick(): void
  close(): Promise<void>
}

export type CardTrustOptions = {
  config: Pick<Config, 'VOUCHSAFE_CERTS' | 'VOUCHSAFE_DATA' | 'CARD_CRL_MINUTES'>
  clock: Clock
  log: Log
  metrics: Pick<Metrics, 'cardListFetches' | 'cardListsStale' | 'cardTrustEnd'>
}

const fineness = 2 ** 32
const evenly = () => randomInt(fineness) / fineness

/**
 * Follows the list of issuers and the revocation lists it names. It waits for no server: cards of an issuer whose list is
 * not there yet are answered `503 trust_stale` until it is.
 * @throws Error with what to do if there is no list of issuers to begin with
 */
export function followCardTrust(options: CardTrustOptions): FollowedCardTrust {
  const { clock, log, metrics } = options
  const file = followTrustFile({ ...foldersOf(options), clock, log })
  const fetching = openFetching(options)
  let current: CardTrust = { anchors: [], notAfterMs: 0, listOf: () => undefined }
  const print = () => {
    current = issuers.trustIn(file.current())
  }
  const issuers = new Issuers(print, fetching.context)
  const follow = () => {
    issuers.follow(file.current())
    print()
  }
  file.onChange(follow)
  follow()
  const warn = warnOfEnd(log)
  let lookedMs = clock.mono()

  function tick(): void {
    const nowMs = clock.now()
    const isDue = clock.mono() - lookedMs >= limits.trustLookMs
    if (isDue) {
      lookedMs = clock.mono()
      file.look()
    }
    issuers.tick(isDue)
    metrics.cardTrustEnd.set(Math.floor(current.notAfterMs / 1000))
    metrics.cardListsStale.set(issuers.stale(nowMs))
    warn(current.notAfterMs, nowMs)
  }

  tick()
  const timer = setInterval(tick, limits.trustTickMs).unref()
  return {
    current: () => current,
    isFresh: (nowMs) => nowMs <= current.notAfterMs && issuers.stale(nowMs) < current.anchors.length,
    tick,
    async close() {
      clearInterval(timer)
      file.close()
      issuers.close()
      await fetching.close()
    },
  }
}

const foldersOf = ({ config }: CardTrustOptions) => ({
  certsDir: config.VOUCHSAFE_CERTS,
  dataDir: config.VOUCHSAFE_DATA,
})

/** What the places share: the client, how many fetches are under way, and the time between two. */
function openFetching(options: CardTrustOptions): { context: PlaceContext; close(): Promise<void> } {
  const { config, clock, log, metrics } = options
  const getter = openGetter({ deadlineMs: limits.cardListDeadlineMs, bytesMax: limits.cardListBytesMax })
  let flights = 0
  let closed = false
  const context: PlaceContext = {
    ...{ ...foldersOf(options), clock, random: evenly, everyMs: config.CARD_CRL_MINUTES * 60_000 },
    getBytes: getter.getBytes,
    mayFetch: () => !closed && flights < limits.cardListFetchesMax,
    onFetch(event) {
      flights += event === 'begun' ? 1 : -1
      if (event !== 'begun') metrics.cardListFetches.inc({ outcome: event })
    },
    log: {
      error: (fields, message) => log.error(fields, message),
      warn: (fields, message) => closed || log.warn(fields, message), // What the end cuts off is no news.
    },
  }
  const close = () => {
    closed = true
    return getter.close()
  }
  return { context, close }
}

/** An issuer that is trusted: its revocation list, and the places where that is found. */
type Issuer = { list: IssuerList; places: Map<string, ListPlace> }

class Issuers {
  readonly #onChange: () => void
  readonly #context: PlaceContext
  readonly #byName = new Map<string, Issuer>()

  /** @param onChange told once a revocation list is in force */
  constructor(onChange: () => void, context: PlaceContext) {
    this.#onChange = onChange
    this.#context = context
  }

  /** An issuer that stays keeps its revocation list; of one that went, nothing is followed any more. */
  follow({ issuers }: TrustList): void {
    const names = new Set(issuers.map(issuerNameOf))
    for (const [name, { places }] of this.#byName) {
      if (names.has(name)) continue
      for (const place of places.values()) place.close()
      this.#byName.delete(name)
    }
    for (const issuer of issuers) {
      const name = issuerNameOf(issuer)
      const known = this.#byName.get(name)
      const { list, places } = known ?? { list: this.#makeList(issuer.anchor), places: new Map() }
      this.#byName.set(name, { list, places })
      this.#open(issuer.lists, { list, places })
    }
  }

  #makeList = (anchor: CardAnchor) => new IssuerList(anchor, () => this.#onChange())

  #open(wanted: readonly string[], { list, places }: Issuer): void {
    for (const [name, place] of places) {
      if (wanted.includes(name)) continue
      place.close()
      places.delete(name)
    }
    for (const name of wanted) {
      if (places.has(name)) continue
      const open = placeKind(name) === 'file' ? openFilePlace : openUrlPlace
      places.set(name, open(name, this.#context, list))
    }
  }

  trustIn({ issuers, notAfterMs }: TrustList): CardTrust {
    const byAnchor = new Map(issuers.map((one) => [one.anchor, this.#byName.get(issuerNameOf(one))]))
    return {
      anchors: issuers.map(({ anchor }) => anchor),
      notAfterMs,
      listOf: (anchor) => {
        const found = byAnchor.get(anchor)
        if (found && !found.list.isFresh(this.#context.clock.now())) {
          for (const place of found.places.values()) place.hurry()
        }
        return found?.list.current()
      },
    }
  }

  stale = (nowMs: number): number =>
    [...this.#byName.values()].filter(({ list }) => !list.isFresh(nowMs)).length

  #allPlaces(): ListPlace[] {
    return [...this.#byName.values()].flatMap(({ places }) => [...places.values()])
  }

  tick(look: boolean): void {
    for (const place of this.#allPlaces()) {
      if (look) place.look()
      place.tick()
    }
  }

  close(): void {
    for (const place of this.#allPlaces()) place.close()
  }
}

/** Says once a day that the list of issuers ends, from two weeks before. */
function warnOfEnd(log: Log): (endMs: number, nowMs: number) => void {
  let said: { endMs: number; atMs: number; ended: boolean } | undefined
  return (endMs, nowMs) => {
    if (endMs - nowMs > limits.trustWarnMs) return
    const ended = nowMs > endMs
    if (said?.endMs === endMs && said.ended === ended && nowMs - said.atMs < dayMs) return
    said = { endMs, atMs: nowMs, ended }
    const fields = { notAfter: new Date(endMs).toISOString() }
    if (ended) log.error(fields, 'card trust list has ended')
    else log.warn(fields, 'card trust list ends soon')
  }
}
