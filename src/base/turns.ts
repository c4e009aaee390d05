// A lane for work that takes long on this thread: one piece in each turn of the event loop, in the order of asking, so
// that whoever asks for something short waits for one piece and not for the queue.

/** Resolves when it is the caller's turn; what it does before it awaits again is its piece. */
export type TakeTurn = () => Promise<void>

export function createTurns(): TakeTurn {
  const waiting: (() => void)[] = []
  let isTaken = false

  function giveNext(): void {
    const go = waiting.shift()
    isTaken = go !== undefined
    if (!go) return
    setImmediate(giveNext)
    go()
  }

  return () => {
    if (!isTaken) {
      isTaken = true
      setImmediate(giveNext)
      return Promise.resolve()
    }
    return new Promise((resolve) => waiting.push(resolve))
  }
}
