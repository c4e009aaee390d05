// Row 4 for carriers' back ends: one bucket of calls for each carrier, taken from once it is known who asks and
// before its body is read.
import fp from 'fastify-plugin'
import { createBuckets } from '../src/base/buckets.ts'
import type { Clock } from '../src/base/clock.ts'
import { limits } from '../src/base/limits.ts'
import type {} from './carrier-auth.ts'

/** @param options.perSecond calls of one carrier; `nodes` how many gateways share it */
export default fp<{ clock: Clock; perSecond: number; nodes: () => number }>(
  async (app, { clock, perSecond, nodes }) => {
    const share = () => 1 / nodes()
    const calls = createBuckets({
      ...{ policy: 'carrier-api', quota: perSecond, share, clock },
      namesMax: limits.bucketsMax,
    })
    app.addHook('preParsing', async (request) => {
      if (request.carrier !== '') calls.mustTake(request.carrier)
    })
  },
  { name: 'carrier-rate', dependencies: ['errors', 'carrier-auth'] },
)
