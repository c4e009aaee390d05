// Questions wait here until a slot is free, then leave together, at most 64 at a time and with no idle wait.
// It knows no bureau: it is given what sends (PROTOCOL section 11).
import { limits } from '../base/limits.ts'

/** `done`: whoever asked has been told, by an answer or by the deadline. */
type Waiting = { readonly done: boolean }

/** `send` settles every item of its batch itself, never rejects, and resolves when the slot is free again. */
export class Batcher<T extends Waiting> {
  readonly #send: (batch: T[]) => Promise<void>
  #queue: T[] = []
  #inFlight = 0
  #due = false

  constructor(send: (batch: T[]) => Promise<void>) {
    this.#send = send
  }

  /** False if the queue is full: the item is not taken. */
  add(item: T): boolean {
    if (this.#queue.length >= limits.bureauQueueMax) {
      // Those who gave up while every slot was taken hold no place.
      this.#queue = this.#queue.filter((waiting) => !waiting.done)
      if (this.#queue.length >= limits.bureauQueueMax) return false
    }
    this.#queue.push(item)
    if (!this.#due) {
      this.#due = true
      // At the end of this turn: whatever asks in the same turn shares the batch, and nobody waits longer.
      setImmediate(() => {
        this.#due = false
        this.#drain()
      })
    }
    return true
  }

  #drain(): void {
    while (this.#inFlight < limits.bureauBatchesInFlightMax) {
      const batch = this.#take()
      if (batch.length === 0) return
      this.#inFlight++
      void this.#send(batch).finally(() => {
        this.#inFlight--
        this.#drain()
      })
    }
  }

  /** The next full batch of those who still wait. */
  #take(): T[] {
    const batch: T[] = []
    let taken = 0
    for (; taken < this.#queue.length && batch.length < limits.bureauBatchMax; taken++) {
      const item = this.#queue[taken] as T
      if (!item.done) batch.push(item)
    }
    this.#queue = this.#queue.slice(taken)
    return batch
  }
}
