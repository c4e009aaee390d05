// A lane for work that takes long on this thread: in each turn of the event loop as many pieces as fit a short time, in
// the order of asking, so that whoever asks for something short waits for that time and not for the queue.
import { GatewayError } from './errors.ts'

/**
 * Resolves when it is the caller's turn; what it does before it awaits again is its piece.
 * @throws GatewayError `overloaded` when too many wait, or its turn came too late to be of use
 */
export type TakeTurn = () => Promise<void>

type Waiting = { sinceMs: number; go(): void; refuse(error: GatewayError): void }

/**
 * @param options.waitMsMax how long one may wait for one turn, by the monotonic clock; `waitingMax` how many may wait;
 *   `loopMs` how long pieces may be begun in one turn of the event loop: what it costs to come round is then paid once
 */
export function createTurns(options: {
  waitingMax: number
  waitMsMax: number
  loopMs: number
  mono: () => number
}): TakeTurn {
  const { waitingMax, waitMsMax, loopMs, mono } = options
  const waiting: Waiting[] = []
  let isTaken = false

  /** The next whose turn is of use still. Who waited too long is told at once: their work would be for nothing. */
  function findNext(): Waiting | undefined {
    for (;;) {
      const next = waiting.shift()
      if (!next || mono() - next.sinceMs <= waitMsMax) return next
      next.refuse(new GatewayError('overloaded', 'turn_came_late'))
    }
  }

  function giveNext(beganMs: number): void {
    const next = findNext()
    isTaken = next !== undefined
    if (!next) return
    next.go()
    // The piece runs in the microtasks that follow; ticks come when none are left.
    queueMicrotask(() => process.nextTick(goOn, beganMs))
  }

  function goOn(beganMs: number): void {
    if (waiting.length > 0 && mono() - beganMs < loopMs) giveNext(beganMs)
    else setImmediate(comeRound)
  }

  const comeRound = () => giveNext(mono())

  return async () => {
    if (!isTaken) {
      isTaken = true
      setImmediate(comeRound)
      return
    }
    if (waiting.length >= waitingMax) throw new GatewayError('overloaded', 'turns_all_taken')
    await new Promise<void>((go, refuse) => waiting.push({ sinceMs: mono(), go, refuse }))
  }
}
