// Load shed: refuses before anything is parsed when too much is in flight or a queue stands.
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
    app.addHook('onRequest', (_, __, done) => {
      if (inFlight >= inFlightMax) return done(new GatewayError('overloaded', 'in_flight'))
      const now = performance.now()
      if (!shedding.isOn(now)) return done()
      if (!inTurn) {
        inTurn = true
        setImmediate(endTurn)
      }
      done(shedding.take(now) ? undefined : new GatewayError('overloaded', 'queue_stands'))
    })
    // Counted once the body is there: whoever sends half a request takes nobody's place. Left on 'close', which
    // comes whether the answer was read or the asker is gone; the framework's onResponse only comes if it was.
    app.addHook('preValidation', (_, reply, done) => {
      inFlight++
      reply.raw.on('close', () => {
        inFlight--
      })
      done()
    })
    // The start blocks the loop for as long as it takes.
    let measuredFrom = Number.POSITIVE_INFINITY
    app.addHook('onListen', async () => {
      measuredFrom = performance.now() + limits.shedNotBeforeMs
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
  },
  { name: 'pressure', dependencies: ['errors'] },
)
