// Load shed: refuses before anything is parsed when too much is in flight, a queue stands, or the event loop lags.
import underPressure from '@fastify/under-pressure'
import fp from 'fastify-plugin'
import { GatewayError } from '../src/base/errors.ts'
import { limits } from '../src/base/limits.ts'
import { Shedding } from '../src/base/shedding.ts'

declare module 'fastify' {
  interface FastifyInstance {
    /** Requests whose body was read and that are not answered yet. */
    inFlight(): number
  }
}

export default fp<{ inFlightMax: number }>(
  async (app, { inFlightMax }) => {
    let inFlight = 0
    app.decorate('inFlight', () => inFlight)
    const shedding = new Shedding()
    let inTurn = false
    const endTurn = () => {
      inTurn = false
      shedding.endTurn()
    }
    app.addHook('onRequest', async () => {
      if (inFlight >= inFlightMax) throw new GatewayError('overloaded', 'in_flight')
      const now = performance.now()
      if (!shedding.isOn(now)) return
      if (!inTurn) {
        inTurn = true
        setImmediate(endTurn)
      }
      if (!shedding.take(now)) throw new GatewayError('overloaded', 'queue_stands')
    })
    // Counted once the body is there: whoever sends half a request takes nobody's place. Left on 'close', which
    // comes whether the answer was read or the asker is gone; the framework's onResponse only comes if it was.
    app.addHook('preValidation', async (_, reply) => {
      inFlight++
      reply.raw.once('close', () => {
        inFlight--
      })
    })
    // The start blocks the loop for as long as it takes; the sample over it stands until the next one is taken.
    let measuredFrom = Number.POSITIVE_INFINITY
    app.addHook('onListen', async () => {
      measuredFrom = performance.now() + 2 * limits.eventLoopSampleMs
      sampler = setInterval(sample, limits.shedSampleMs).unref()
    })
    let due = Number.POSITIVE_INFINITY
    const sample = () => {
      const now = performance.now()
      if (now >= measuredFrom) shedding.sample(now - due, now)
      due = now + limits.shedSampleMs
    }
    let sampler: NodeJS.Timeout | undefined
    app.addHook('onClose', async () => clearInterval(sampler))
    await app.register(underPressure, {
      maxEventLoopDelay: limits.eventLoopDelayMsMax,
      sampleInterval: limits.eventLoopSampleMs,
      pressureHandler: () => {
        if (performance.now() < measuredFrom) return
        throw new GatewayError('overloaded', 'event_loop')
      },
    })
  },
  { name: 'pressure', dependencies: ['errors'] },
)
