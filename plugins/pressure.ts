// Load shed: refuses before anything is parsed when too much is in flight or the event loop lags.
import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { GatewayError } from '../src/base/errors.ts'
import { limits } from '../src/base/limits.ts'

export default fp(
  async (app) => {
    let inFlight = 0
    app.addHook('onRequest', async () => {
      inFlight++
      if (inFlight > limits.inFlightMax) throw new GatewayError('overloaded', 'in_flight')
    })
    app.addHook('onResponse', async () => {
      inFlight--
    })
    await app.register(underPressure, {
      maxEventLoopDelay: limits.eventLoopDelayMsMax,
      pressureHandler: () => {
        throw new GatewayError('overloaded', 'event_loop')
      },
    })
  },
  { name: 'pressure', dependencies: ['errors'] },
)
