// Questions to the bureau about one person at once: one leaves, and all who ask meanwhile have its answer, until the
// cache has it (PROTOCOL section 7, row 14). Nothing of a question that failed is kept.
import { type AnswerCache, type FeedView, type FreshAnswer, isCurrent, type Slots } from './answers.ts'
import { Flight } from './flight.ts'

/** An answer is cached once it is recorded, some 20 ms after it came: whoever looked there before must not ask again. */
const onTheWayMs = 100

/** What the bureau said, and where this node was in its news when it was asked. */
type Verdict = { transaction: Buffer; position: number }

type Given<Q, V> = { cache: AnswerCache; feed: FeedView; ask: (question: Q) => Promise<V> }

/** The cache and the bureau behind it. Of those who waited together one writes the cache. */
export function createQuestions<Q, V extends Verdict>({ cache, feed, ask }: Given<Q, V>) {
  const flight = new Flight<V>()
  const kept = new WeakSet<Buffer>()
  /** Answers that came and may not be in the cache yet, by flight key. */
  const onTheWay = new Map<string, V>()

  function pass(slots: Slots, verdict: V): void {
    const { flightKey } = slots
    if (!slots.current) return // Without a secret of the day nothing is kept.
    onTheWay.set(flightKey, verdict)
    setTimeout(() => {
      if (onTheWay.get(flightKey) === verdict) onTheWay.delete(flightKey)
    }, onTheWayMs).unref()
  }

  return {
    answers: {
      prepare: cache.prepare,
      read: cache.read,
      write(slots: Slots, value: FreshAnswer) {
        if (kept.has(value.transaction)) return
        kept.add(value.transaction)
        cache.write(slots, value)
      },
    },
    async ask(slots: Slots, question: Q): Promise<V> {
      const passing = onTheWay.get(slots.flightKey)
      if (passing && isCurrent(passing.position, slots.who, feed)) return passing
      return flight.run(slots.flightKey, async () => {
        const verdict = await ask(question)
        pass(slots, verdict)
        return verdict
      })
    },
  }
}
