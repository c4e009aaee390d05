// Questions wait here until a slot is free, then leave together, at most 64 at a time and with no idle wait.
import { limits } from '../base/limits.ts'

/** `send` settles every item of its batch itself and resolves when the slot is free again. */
export class Batcher<T> {
  readonly #send: (batch: T[]) => Promise<void>
  #queue: T[] = []
  #inFlight = 0
  #due = false

  constructor(send: (batch: T[]) => Promise<void>) {
    this.#send = send
  }

  /** False if the queue is full: the item is not taken. */
  add(item: T): boolean {
    if (this.#queue.length >= limits.bureauQueueMax) return false
    this.#queue.push(item)
    if (!this.#due) {
      this.#due = true
      setImmediate(() => {
        this.#due = false
        this.#drain()
      })
    }
    return true
  }

  get waiting(): number {
    return this.#queue.length
  }

  #drain(): void {
    while (this.#queue.length > 0 && this.#inFlight < limits.bureauBatchesInFlightMax) {
      const batch = this.#queue.slice(0, limits.bureauBatchMax)
      this.#queue = this.#queue.slice(batch.length)
      this.#inFlight++
      void this.#send(batch).finally(() => {
        this.#inFlight--
        this.#drain()
      })
    }
  }
}
