// Who may use a route of the operator listener is what its schema says in `security: [{operator: [role, ...]}]`: a
// named operator with a secret of its own (PROTOCOL section 2), by HTTP Basic (RFC 7617), which curl and Prometheus
// speak. A route that says nothing is not made, but for the probes.
import type { FastifyRequest, RouteOptions } from 'fastify'
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

/** Open to probes. */
const openPrefix = '/health/'

/** The roles that a route names; undefined if it names no operator. */
function rolesOf({ schema }: Pick<RouteOptions, 'schema'>): readonly string[] | undefined {
  const security = (schema as { security?: readonly Record<string, readonly string[]>[] } | undefined)
    ?.security
  return security?.find((way) => 'operator' in way)?.['operator']
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
    app.addHook('onRoute', (route) => {
      const roles = rolesOf(route)
      if (roles) route.onRequest = [app.operatorAuth(...roles), ...[route.onRequest ?? []].flat()]
      else if (!route.url.startsWith(openPrefix)) throw new Error(`${route.url} does not say who may use it`)
    })
  },
  { name: 'operator-auth', dependencies: ['errors'] },
)
