// Work that costs as much for many as for one: what arrives while a group is under way is the next group.

/**
 * @param options.run does a whole group; one result for each, in order. What it throws, each of them is told.
 * @param options.most how many a group may have
 * @param options.pauseMs how long a group waits for company at least, so that others have their turn between two
 */
export function createGroup<T, R>(options: {
  run: (group: readonly T[]) => Promise<readonly R[]>
  most: number
  pauseMs: number
}): (one: T) => Promise<R> {
  const { run, most, pauseMs } = options
  type Waiting = { one: T; resolve(result: R): void; reject(cause: unknown): void }
  const waiting: Waiting[] = []
  let due = false

  async function runNext(): Promise<void> {
    const group = waiting.splice(0, most)
    try {
      const results = await run(group.map(({ one }) => one))
      for (const [i, { resolve }] of group.entries()) resolve(results[i] as R)
    } catch (cause) {
      for (const { reject } of group) reject(cause)
    }
    due = false
    begin()
  }

  function begin(): void {
    if (due || waiting.length === 0) return
    due = true
    setTimeout(() => void runNext(), pauseMs)
  }

  return (one) =>
    new Promise((resolve, reject) => {
      waiting.push({ one, resolve, reject })
      begin()
    })
}
