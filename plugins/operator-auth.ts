// Decorates `operatorAuth`: a named operator with a secret of its own (PROTOCOL section 2), by HTTP Basic
// (RFC 7617), which curl and Prometheus speak. Roles are checked per route.
import type { FastifyRequest } from 'fastify'
import fp from 'fastify-plugin'
import { GatewayError } from '../src/base/errors.ts'

export type Operator = { name: string; role: string }

declare module 'fastify' {
  interface FastifyRequest {
    operator: Operator | undefined
  }
  interface FastifyInstance {
    operatorAuth(...roles: string[]): (request: FastifyRequest) => Promise<void>
  }
}

type Options = { checkOperator: (name: string, secret: string) => Promise<Operator | undefined> }

export default fp<Options>(
  async (app, { checkOperator }) => {
    app.decorateRequest('operator', undefined)
    app.decorate('operatorAuth', (...roles: string[]) => async (request: FastifyRequest) => {
      const encoded = /^Basic ([A-Za-z0-9+/=]{1,512})$/.exec(request.headers.authorization ?? '')?.[1] ?? ''
      const [name = '', secret = ''] = Buffer.from(encoded, 'base64').toString().split(/:(.*)/s)
      const operator = await checkOperator(name, secret)
      if (!operator) throw new GatewayError('unauthorized', 'operator_refused')
      if (!roles.includes(operator.role)) throw new GatewayError('forbidden', 'operator_role')
      request.operator = operator
    })
  },
  { name: 'operator-auth', dependencies: ['errors'] },
)
