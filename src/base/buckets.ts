// Token buckets in memory, one a name, bounded by forgetting those longest unused.
import { LRUCache } from 'lru-cache'
import type { Clock } from './clock.ts'

type Bucket = { tokens: number; at: number }

/** Lets `perSecond` a second pass per name, with a burst of one second's worth (at least 1). */
export function createBuckets(options: { perSecond: number; clock: Clock; namesMax: number }) {
  const { perSecond, clock } = options
  const burst = Math.max(1, perSecond)
  const buckets = new LRUCache<string, Bucket>({ max: options.namesMax })
  return {
    perSecond,
    /** Takes one token; false if there is none. */
    take(name: string): boolean {
      const now = clock.mono()
      const bucket = buckets.get(name) ?? { tokens: burst, at: now }
      bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) * perSecond) / 1000)
      bucket.at = now
      buckets.set(name, bucket)
      if (bucket.tokens < 1) return false
      bucket.tokens -= 1
      return true
    },
  }
}
