// The carrier listener: mTLS with the revocation list of its CA, both followed in their files. Newer ones count for
// handshakes at once, tickets of before are of no use after, and who is turned away is told with a cause.
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Server, TLSSocket } from 'node:tls'
import type { Metrics } from '../plugins/metrics.ts'
import { buildCarrierApp, type CarrierRoutes, type Common } from './app.ts'
import { sha256, u64 } from './base/bytes.ts'
import type { Config } from './base/config.ts'
import { readPem } from './base/pem.ts'
import { type FollowedPair, tlsFloor } from './listener-tls.ts'
import { loadAnchors } from './pki/anchors.ts'
import { type CertificateCause, causeOfHandshake, causes, causeWords } from './pki/causes.ts'
import { printSerial } from './pki/client-certificate.ts'
import { lastOfKinds } from './registry/changes.ts'
import type { RegistryReader } from './registry/reader.ts'
import type { RegistryDb } from './registry/schema.ts'
import { followRevocations } from './revocation-list.ts'
import { setTicketKeys } from './ticket-keys.ts'

/** Changes of the registry after which a ticket from before must open nothing. */
const endsTickets = ['carrier', 'certificate'] as const

type Given = {
  common: Common
  db: RegistryDb
  registry: RegistryReader
  own: FollowedPair
  ticketSecret: Buffer
  routes: CarrierRoutes
}

/** @param closers takes what must be closed, in order */
export async function openCarrierApp(
  { config, log }: { config: Config; log: Common['log'] },
  { common, db, registry, own, ticketSecret, routes }: Given,
  closers: (() => unknown)[],
): Promise<{ app: Awaited<ReturnType<typeof buildCarrierApp>>; isListFresh(): boolean }> {
  const file = (name: string) => join(config.VOUCHSAFE_CERTS, name)
  const ca = readFileSync(file('carrier-ca.crt'))
  const anchors = loadAnchors([readPem(file('carrier-ca.crt'))])
  const list = followRevocations({ file: file('carrier-ca.crl'), anchors, log })
  closers.push(list.close)
  const refused = tellRefused({ log, counter: common.metrics.certificatesRefused })
  closers.push(refused.close)
  const tls = () => ({ ...own.current(), ca, crl: list.pem() })
  const app = await buildCarrierApp(common, {
    ...{ tls: tls(), registry, routes },
    isRevoked: (serial) => list.current().has(serial) || registry.isCertificateRevoked(printSerial(serial)),
    trust: {
      issuers: anchors,
      isListFresh: (nowMs) => list.current().isFresh(nowMs),
      onNewList: list.onChange,
      onRefused: refused.tell,
    },
  })
  const server = app.server as unknown as Server
  server.on('tlsClientError', (error: NodeJS.ErrnoException, socket: TLSSocket) => {
    refused.tell(causeOfHandshake(socket.authorizationError, error.code))
  })
  let lastSeq = await lastOfKinds(db, endsTickets)
  const endTickets = () =>
    setTicketKeys(server, ticketSecret, 'carrier', [
      sha256(own.current().cert),
      sha256(Buffer.from(list.pem())),
      u64(lastSeq),
    ])
  const renew = () => {
    server.setSecureContext({ ...tls(), ...tlsFloor })
    endTickets() // A new context has new keys by itself; that nothing else is true is not left to it.
  }
  renew() // With what came while the listener was built.
  closers.push(list.onChange(renew))
  closers.push(own.onChange(renew))
  const stop = registry.onChange(({ kind, seq }) => {
    if (!endsTickets.some((ends) => ends === kind)) return
    lastSeq = seq
    endTickets()
  })
  closers.push(stop)
  return { app, isListFresh: () => list.current().isFresh(common.clock.now()) }
}

const tellEveryMs = 1000
const toldMax = 100

type Told = { cause: CertificateCause; serial: string | undefined; more: number }

/**
 * Counts who is turned away, and tells at most one line a second of each cause, or of each certificate that our CA
 * vouches for, with how many more there were: whoever can connect must not fill the log.
 */
export function tellRefused(options: {
  log: Record<'info' | 'warn', (fields: unknown, message: string) => void>
  counter: Metrics['certificatesRefused']
}): { tell(cause: CertificateCause, serial?: string): void; close(): void } {
  const { log, counter } = options
  const recent = new Map<string, Told>()
  let timer: NodeJS.Timeout | undefined
  for (const cause of causeWords) counter.inc({ cause }, 0)

  function say({ cause, serial }: Omit<Told, 'more'>, count: number): void {
    const { level, says } = causes[cause]
    const fields = { cause, ...(serial === undefined ? {} : { serial }), count, says }
    log[level](fields, level === 'warn' ? 'client certificate refused' : 'handshake failed')
  }

  function flush(): void {
    for (const [key, told] of recent) {
      if (told.more === 0) recent.delete(key)
      else say(told, told.more)
      told.more = 0
    }
    if (recent.size > 0) return
    clearInterval(timer)
    timer = undefined
  }

  return {
    tell(cause, serial) {
      counter.inc({ cause })
      const named = recent.size < toldMax ? serial : undefined
      const key = `${cause} ${serial ?? ''}`
      const told = recent.get(key) ?? recent.get(`${cause} ${named ?? ''}`)
      if (told) {
        told.more++
        return
      }
      recent.set(`${cause} ${named ?? ''}`, { cause, serial: named, more: 0 })
      timer ??= setInterval(flush, tellEveryMs).unref()
      say({ cause, serial: named }, 1)
    },
    close() {
      clearInterval(timer)
      for (const told of recent.values()) if (told.more > 0) say(told, told.more)
      recent.clear()
    },
  }
}
