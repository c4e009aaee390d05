// Token buckets in memory, one a name, bounded by forgetting those longest unused.
import type { Clock } from './clock.ts'
import { GatewayError } from './errors.ts'
import { RecentMap } from './recent.ts'

type Bucket = { tokens: number; at: number }

export type Buckets = {
  /** Takes one token; false if there is none. */
  take(name: string): boolean
  /** As `take`. @throws GatewayError rate_limited, with what the asker may know of the limit */
  mustTake(name: string): void
}

/**
 * Lets `quota` pass in each `windowS` per name, with a burst of one second's worth (at least 1).
 * @param options.policy names the limit to the asker and in the log
 * @param options.share this node's part of the quota, from 0 to 1: nodes that live share a limit evenly
 */
export function createBuckets(options: {
  policy: string
  quota: number
  windowS?: number
  share?: () => number
  clock: Clock
  namesMax: number
}): Buckets {
  const { policy, quota, windowS = 1, share = () => 1, clock } = options
  const buckets = new RecentMap<Bucket>(options.namesMax)
  const perSecond = () => (quota / windowS) * share()

  function take(name: string): boolean {
    const now = clock.mono()
    const rate = perSecond()
    const burst = Math.max(1, rate)
    const bucket = buckets.get(name) ?? { tokens: burst, at: now }
    bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) * rate) / 1000)
    bucket.at = now
    buckets.set(name, bucket)
    if (bucket.tokens < 1) return false
    bucket.tokens -= 1
    return true
  }

  return {
    take,
    mustTake(name) {
      if (take(name)) return
      const resetS = Math.max(1, Math.ceil(1 / perSecond()))
      throw new GatewayError('rate_limited', policy, { rate: { policy, quota, windowS, resetS } })
    },
  }
}
