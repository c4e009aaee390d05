// Decorates `carrierAuth`: who a carrier is comes from the socket's certificate, read once per socket; whether
// it is still admitted is asked on every request (PROTOCOL sections 0.5, 2).
import type { TLSSocket } from 'node:tls'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { GatewayError } from '../src/base/errors.ts'
import type { RegistryView } from '../src/verify/services.ts'
import type {} from './sockets.ts'

declare module 'fastify' {
  interface FastifyRequest {
    carrier: string
  }
  interface FastifyInstance {
    carrierAuth(request: FastifyRequest): Promise<void>
  }
}

const carrierUri = /^URI:urn:vouchsafe:carrier:([a-z0-9-]{2,32})$/

type Identity = { carrier: string; notAfterMs: number; serial: string }

/** The one carrier named by a certificate; undefined for none, several, or any other name beside it. */
function carrierOf(socket: TLSSocket): Identity | undefined {
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined
  const carrier = carrierUri.exec(certificate?.subjectAltName ?? '')?.[1]
  if (!certificate || !carrier) return undefined
  return { carrier, notAfterMs: Date.parse(certificate.validTo), serial: certificate.serialNumber }
}

type Options = {
  registry: RegistryView
  now: () => number
  /** Whether a serial (hex, as node prints it) is on the list of the carrier CA as it stands now. */
  isRevoked: (serial: string) => boolean
}

export default fp<Options>(
  async (app, { registry, now, isRevoked }) => {
    const known = new WeakMap<object, Identity>()
    app.decorateRequest('carrier', '')
    app.decorate('carrierAuth', async (request: FastifyRequest) => {
      const socket = request.raw.socket as TLSSocket
      const identity = known.get(socket) ?? carrierOf(socket)
      if (!identity || identity.notAfterMs <= now() || isRevoked(identity.serial)) {
        throw new GatewayError('carrier_suspended', 'certificate_refused')
      }
      known.set(socket, identity)
      if (!registry.isFresh()) throw new GatewayError('registry_stale', 'registry_stale')
      const standing = await registry.carrier(identity.carrier)
      if (standing?.status !== 'active') throw new GatewayError('carrier_suspended', 'carrier_not_active')
      request.carrier = identity.carrier
      app.sockets.belongs(socket, 'carrier', identity.carrier)
    })
  },
  { name: 'carrier-auth', dependencies: ['errors', 'sockets'] },
)
