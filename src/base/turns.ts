// A lane for work that takes long on this thread: one piece in each turn of the event loop, in the order of asking, so
// that whoever asks for something short waits for one piece and not for the queue.
import { GatewayError } from './errors.ts'

/**
 * Resolves when it is the caller's turn; what it does before it awaits again is its piece.
 * @throws GatewayError `overloaded` when too many wait
 */
export type TakeTurn = () => Promise<void>

/** @param waitingMax how many may wait for their turn */
export function createTurns(waitingMax: number): TakeTurn {
  const waiting: (() => void)[] = []
  let isTaken = false

  function giveNext(): void {
    const go = waiting.shift()
    isTaken = go !== undefined
    if (!go) return
    setImmediate(giveNext)
    go()
  }

  return async () => {
    if (!isTaken) {
      isTaken = true
      setImmediate(giveNext)
      return
    }
    if (waiting.length >= waitingMax) throw new GatewayError('overloaded', 'turns_all_taken')
    await new Promise<void>((resolve) => waiting.push(resolve))
  }
}
