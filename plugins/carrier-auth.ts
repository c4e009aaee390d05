// Decorates `carrierAuth`: who a carrier is comes from the socket's certificate, read once per socket, resumed or
// not; whether it is still admitted is asked on every request (PROTOCOL sections 0.5, 2). Owns its look at sockets.
import type { TLSSocket } from 'node:tls'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { GatewayError } from '../src/base/errors.ts'
import type { Anchors } from '../src/pki/anchors.ts'
import type { CertificateCause } from '../src/pki/causes.ts'
import { type ClientCertificate, checkClientCertificate } from '../src/pki/client-certificate.ts'
import type { RegistryView } from '../src/verify/services.ts'
import type {} from './sockets.ts'

declare module 'fastify' {
  interface FastifyRequest {
    carrier: string
    /** The one that the connection was opened with. */
    certificate: ClientCertificate | undefined
  }
  interface FastifyInstance {
    carrierAuth(request: FastifyRequest, reply: FastifyReply): Promise<void>
  }
}

export type CarrierTrust = {
  issuers: Anchors
  isListFresh(nowMs: number): boolean
  /** Told of each newer revocation list. Returns the function that ends it. */
  onNewList(listener: () => void): () => void
  /** Told once of each connection and cause. @param serial hex; undefined if there is no certificate */
  onRefused(cause: CertificateCause, serial?: string): void
}

type Options = {
  registry: RegistryView & { onChange(listener: (change: { kind: string }) => void): () => void }
  now: () => number
  /** Whether a serial (body of its INTEGER) is revoked, by list or registry as they stand now. */
  isRevoked: (serial: Buffer) => boolean
  trust: CarrierTrust
}

/** What a connection showed: a certificate, or why it shows none. `told` is the cause that was told last. */
type Shown = { found: ClientCertificate | CertificateCause; serial?: string; told?: CertificateCause }

/** Without a verdict of OpenSSL there is no certificate; with one, ours comes after it. */
function read(socket: TLSSocket, issuers: Anchors, onFault: (err: unknown) => void): Shown {
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined
  if (!certificate) return { found: 'no_certificate' }
  const { raw, serialNumber: serial } = certificate
  try {
    return { found: checkClientCertificate(raw, issuers), serial }
  } catch (err) {
    onFault(err)
    return { found: 'malformed', serial }
  }
}

/** Every open connection with what it showed. */
function watchSockets(app: FastifyInstance, { now, isRevoked, trust }: Omit<Options, 'registry'>) {
  const open = new Map<TLSSocket, Shown>()

  function look(socket: TLSSocket): Shown {
    const known = open.get(socket)
    if (known) return known
    const shown = read(socket, trust.issuers, (err) => app.log.error({ err }, 'client certificate not read'))
    if (shown.serial === undefined || socket.destroyed) return shown
    open.set(socket, shown)
    socket.once('close', () => open.delete(socket))
    if (typeof shown.found !== 'string') app.sockets.belongs(socket, 'carrier', shown.found.carrier)
    return shown
  }

  function causeOf(found: Shown['found']): CertificateCause | undefined {
    if (typeof found === 'string') return found
    if (found.notBeforeMs > now()) return 'not_yet_valid'
    if (found.notAfterMs <= now()) return 'expired'
    return isRevoked(found.serial) ? 'revoked' : undefined
  }

  /** The certificate of a connection, or why it is refused as things stand now; each cause is told once. */
  function check(socket: TLSSocket): ClientCertificate | CertificateCause {
    const shown = look(socket)
    const cause = causeOf(shown.found)
    if (cause === undefined) return shown.found
    if (cause !== shown.told) trust.onRefused(cause, shown.serial)
    shown.told = cause
    return cause
  }

  function cutRevoked(): void {
    for (const socket of open.keys()) if (check(socket) === 'revoked') socket.destroy()
  }
  return { check, cutRevoked }
}

export default fp<Options>(
  async (app, { registry, ...options }) => {
    const { now, trust } = options
    const { check, cutRevoked } = watchSockets(app, options)

    function refuse(reply: FastifyReply, reason: string): never {
      reply.header('connection', 'close') // Whoever is not admitted keeps no connection either.
      throw new GatewayError('carrier_suspended', reason)
    }

    app.decorateRequest('carrier', '')
    app.decorateRequest('certificate', undefined)
    app.decorate('carrierAuth', async (request: FastifyRequest, reply: FastifyReply) => {
      const certificate = check(request.raw.socket as TLSSocket)
      if (typeof certificate === 'string') return refuse(reply, certificate)
      if (!trust.isListFresh(now())) throw new GatewayError('registry_stale', 'revocation_list_stale')
      if (!registry.isFresh()) throw new GatewayError('registry_stale', 'registry_stale')
      const standing = await registry.carrier(certificate.carrier)
      if (standing?.status !== 'active') return refuse(reply, 'carrier_not_active')
      request.carrier = certificate.carrier
      request.certificate = certificate
    })
    app.server.on('secureConnection', (socket: TLSSocket) => check(socket))
    const stops = [
      trust.onNewList(cutRevoked),
      registry.onChange(({ kind }) => kind === 'certificate' && cutRevoked()),
    ]
    app.addHook('onClose', async () => {
      for (const stop of stops) stop()
    })
  },
  { name: 'carrier-auth', dependencies: ['errors', 'sockets'] },
)
