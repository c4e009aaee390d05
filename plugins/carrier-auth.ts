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

/** The one carrier named by a certificate; undefined for none, several, or any other name beside it. */
function carrierOf(socket: TLSSocket): { carrier: string; notAfterMs: number } | undefined {
  const certificate = socket.authorized ? socket.getPeerX509Certificate() : undefined
  const carrier = carrierUri.exec(certificate?.subjectAltName ?? '')?.[1]
  return certificate && carrier ? { carrier, notAfterMs: Date.parse(certificate.validTo) } : undefined
}

export default fp<{ registry: RegistryView; now: () => number }>(
  async (app, { registry, now }) => {
    const known = new WeakMap<object, { carrier: string; notAfterMs: number }>()
    app.decorateRequest('carrier', '')
    app.decorate('carrierAuth', async (request: FastifyRequest) => {
      const socket = request.raw.socket as TLSSocket
      const identity = known.get(socket) ?? carrierOf(socket)
      if (!identity || identity.notAfterMs <= now()) {
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
