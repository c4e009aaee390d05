// Decorates `deviceAuth`: row 2 of the order of checks. The checked token becomes `request.session`.
import type { Socket } from 'node:net'
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { present } from '../src/base/assert.ts'
import { printBase64url } from '../src/base/bytes.ts'
import { GatewayError } from '../src/base/errors.ts'
import type { DeviceSession } from '../src/token/claims.ts'
import type {} from './sockets.ts'
import type { TokenHolders } from './token-holders.ts'

declare module 'fastify' {
  interface FastifyRequest {
    session: DeviceSession | undefined
  }
  interface FastifyInstance {
    deviceAuth(request: FastifyRequest): Promise<void>
  }
}

const bearer = /^Bearer ([A-Za-z0-9_.-]{1,4096})$/

export default fp<{ tokens: Pick<TokenHolders, 'checkDevice'> }>(
  async (app, { tokens }) => {
    app.decorateRequest('session', undefined)
    /** The last session of each socket: of most there is only one. */
    const sessions = new WeakMap<Socket, DeviceSession>()
    app.decorate('deviceAuth', async (request: FastifyRequest) => {
      const token = bearer.exec(request.headers.authorization ?? '')?.[1]
      if (!token) throw new GatewayError('session_invalid', 'token_missing')
      const session = await tokens.checkDevice(token)
      request.session = session
      const { socket } = request.raw
      if (sessions.get(socket) === session) return
      sessions.set(socket, session)
      app.sockets.belongs(socket, 'device', printBase64url(session.device))
      app.sockets.belongs(socket, 'carrier', session.carrier)
    })
  },
  { name: 'device-auth', dependencies: ['errors', 'sockets'] },
)

/** The session of a request that passed `deviceAuth`. */
export const sessionOf = (request: FastifyRequest) => present(request.session, 'the session of the request')
