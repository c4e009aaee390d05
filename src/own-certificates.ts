// The ends of the certificates that the gateway itself uses: gauges, and a line in the log at the start and each
// day from 30 days before (1 day: an operator must act now). Which they are is told to it.
import { X509Certificate } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Metrics } from '../plugins/metrics.ts'
import type { Common } from './app.ts'
import { type Clock, dayMs } from './base/clock.ts'
import type { Config } from './base/config.ts'
import { type FollowedPair, followPair } from './listener-tls.ts'
import { type Warning, warningOf, warnings } from './pki/ending.ts'

type Log = Record<'warn' | 'error', (fields: unknown, message: string) => void>

const lookMs = 60_000

type Context = { config: Config; clock: Clock; log: Common['log'] }

/** The pair of the listeners, followed, and the watch over the ends of all. @param closers takes what must be closed */
export function openOwnCertificates(
  { config, clock, log }: Context,
  metrics: Metrics,
  closers: (() => unknown)[],
): FollowedPair {
  const directory = config.VOUCHSAFE_CERTS
  const pair = followPair({ directory, clock, log })
  closers.push(pair.close)
  const others = readEnds(directory)
  const ends = () => ({ gateway: pair.notAfterMs(), ...others })
  const watch = watchEnds({ ends, clock, log, metrics })
  closers.push(watch.close)
  closers.push(pair.onChange(watch.look))
  return pair
}

/** Certificates that are read at the start and in use until the end of the process. */
const fixed = ['gateway-ca', 'carrier-ca', 'bureau-ca', 'bureau-client', 'sam-ca', 'sam-client']

/** Ends, Unix ms, of those that are there: nobody needs the gateway CA beside its gateway. */
export function readEnds(directory: string): Record<string, number> {
  const there = fixed.filter((name) => existsSync(join(directory, `${name}.crt`)))
  const endOf = (name: string) =>
    new X509Certificate(readFileSync(join(directory, `${name}.crt`))).validToDate.getTime()
  return Object.fromEntries(there.map((name) => [name, endOf(name)]))
}

/**
 * @param options.ends by name, Unix ms, as they are when it is called
 * @returns what looks at them again, and what ends it
 */
export function watchEnds(options: {
  ends: () => Record<string, number>
  clock: Clock
  log: Log
  metrics: Pick<Metrics, 'certificateExpiry' | 'certificatesEnding'>
}): { look(): void; close(): void } {
  const { ends, clock, log, metrics } = options
  const said = new Map<string, { atMs: number; warning: Warning }>()

  function look(): void {
    const nowMs = clock.now()
    const all = Object.entries(ends())
    for (const [certificate, endMs] of all) {
      metrics.certificateExpiry.set({ certificate }, Math.floor(endMs / 1000))
      say(certificate, endMs, nowMs)
    }
    for (const [within, ms] of warnings) {
      metrics.certificatesEnding.set({ within }, all.filter(([, endMs]) => endMs - nowMs <= ms).length)
    }
  }

  function say(certificate: string, endMs: number, nowMs: number): void {
    const warning = warningOf(endMs, nowMs)
    const last = said.get(certificate)
    if (warning === null) said.delete(certificate)
    if (warning === null || (last?.warning === warning && nowMs - last.atMs < dayMs)) return
    said.set(certificate, { atMs: nowMs, warning })
    const fields = { certificate, warning, notAfter: new Date(endMs).toISOString() }
    if (endMs <= nowMs) log.error(fields, 'certificate has ended')
    else log.warn(fields, 'certificate ends soon')
  }

  look()
  const timer = setInterval(look, lookMs).unref()
  return { look, close: () => clearInterval(timer) }
}
