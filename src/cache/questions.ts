// Questions to the bureau about one person at once: one leaves, and all who ask meanwhile have its answer, until the
// cache has it (PROTOCOL section 7, row 14). Nothing of a question that failed is kept.
import { limits } from '../base/limits.ts'
import { type AnswerCache, type FeedView, type FreshAnswer, isCurrent, type Slots } from './answers.ts'
import { Flight } from './flight.ts'

/**
 * An answer is cached once it is recorded, some 20 ms after it came, or much later where too much comes: whoever looked
 * there before must not ask again. Passed on until it is written and for this long after, twice as long at most: one
 * timer for all of them.
 */
const onTheWayMs = 100
/** An answer that no one writes by then will not be written: every request that had it has ended. */
const delaysMax = limits.requestMsMax / (2 * onTheWayMs)

/** What the bureau said, and where this node was in its news when it was asked. */
type Verdict = { transaction: Buffer; position: number }

type Given<Q, V> = { cache: AnswerCache; feed: FeedView; ask: (question: Q) => Promise<V> }

/**
 * An answer that came and may not be in the cache yet. `kept`: one of those who waited together has written it;
 * `delays`: how often it was passed on for two spans more, as nobody had.
 */
type OnTheWay<V> = { verdict: V; kept: boolean; delays: number }

/** The cache and the bureau behind it. Of those who waited together one writes the cache. */
export function createQuestions<Q, V extends Verdict>({ cache, feed, ask }: Given<Q, V>) {
  const flight = new Flight<V>()
  /** By flight key: those of this span, and of the one before, which are forgotten at its end if they were written. */
  let recent = new Map<string, OnTheWay<V>>()
  let older = new Map<string, OnTheWay<V>>()
  let turning = false

  function turn(): void {
    const ending = older
    older = recent
    recent = new Map()
    for (const [flightKey, passing] of ending) {
      if (passing.kept || ++passing.delays >= delaysMax || older.has(flightKey)) continue
      recent.set(flightKey, passing)
    }
    turning = older.size + recent.size > 0
    if (turning) setTimeout(turn, onTheWayMs).unref()
  }

  const find = (flightKey: string) => recent.get(flightKey) ?? older.get(flightKey)

  function pass(slots: Slots, verdict: V): void {
    if (!slots.current) return // Without a secret of the day nothing is kept.
    recent.set(slots.flightKey, { verdict, kept: false, delays: 0 })
    if (turning) return
    turning = true
    setTimeout(turn, onTheWayMs).unref()
  }

  return {
    answers: {
      prepare: cache.prepare,
      read: cache.read,
      write(slots: Slots, value: FreshAnswer) {
        const passing = find(slots.flightKey)
        if (passing?.verdict.transaction === value.transaction) {
          if (passing.kept) return
          passing.kept = true
          recent.set(slots.flightKey, passing)
        }
        cache.write(slots, value)
      },
    },
    async ask(slots: Slots, question: Q): Promise<V> {
      const passing = find(slots.flightKey)?.verdict
      if (passing && isCurrent(passing.position, slots.who, feed)) return passing
      return flight.run(slots.flightKey, async () => {
        const verdict = await ask(question)
        pass(slots, verdict)
        return verdict
      })
    },
  }
}
