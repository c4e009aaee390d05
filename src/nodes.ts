// How many gateways live, told by the store they share: limits are divided by it (PROTOCOL section 7, row 4).
import { printBase64url, randomId } from './base/bytes.ts'
import { limits } from './base/limits.ts'
import type { Store } from './store/store.ts'

/** Says every few seconds that this gateway lives. `count` is of the last time that the store answered. */
export function countNodes(store: Pick<Store, 'beat'>): { count(): number; close(): void } {
  const node = printBase64url(randomId())
  let count = 1
  const beat = async () => {
    try {
      count = Math.max(1, await store.beat(node, limits.nodeLifeMs))
    } catch {
      // The store is away, which its own log line tells: the shares stay as they were.
    }
  }
  void beat()
  const timer = setInterval(beat, limits.nodeBeatMs).unref()
  return { count: () => count, close: () => clearInterval(timer) }
}
