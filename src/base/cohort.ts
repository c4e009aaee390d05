// Lets tasks that come one by one go on together, so that they do the same step one after another: code and tables of
// that step stay in the processor's caches, where between steps of other kinds each task would fetch them anew
// (cohort scheduling: Larus and Parkes, USENIX 2002).

/**
 * Runs work with that of others who came meanwhile, and gives what it comes to. The work calls `leave` where it only
 * waits from there on: it is not expected back with the others.
 */
export type RunInCohort = <T>(work: (leave: () => void) => Promise<T> | T) => Promise<T>

/** Those who went longer ago are not expected back. */
const backMs = 100

/**
 * Those who come while the event loop reads what has come go on when it has read it. Promises settle in turn: all of
 * them take their first step, then all of them the second. All go on at once, however many: who was left waiting here
 * would not make the loop late, and no one would see that there is too much to do.
 * @param paceMs where others went less than 100 ms ago, and are under way or were several, the next cohort waits until
 *   as many have come as were last seen at once, at most so long from the first that came: what comes in pieces would
 *   otherwise go on in pieces, and need all the more of the processor
 */
export function createCohort(paceMs = 0): RunInCohort {
  let waiting: (() => void)[] = []
  let running = 0
  /** How many were under way, with those who went, when each of the last two cohorts went. */
  let [seen, seenBefore] = [0, 0]
  let wentAt = Number.NEGATIVE_INFINITY
  let timer: NodeJS.Timeout | undefined

  function goOn(): void {
    const going = waiting
    waiting = []
    wentAt = performance.now()
    seenBefore = seen
    seen = running + going.length
    for (const go of going) go()
  }

  function goSoon(): void {
    clearTimeout(timer)
    timer = undefined
    setImmediate(goOn)
  }

  const expected = () => Math.max(seen, seenBefore)
  const areOthers = () => (running > 0 || expected() > 1) && performance.now() - wentAt < backMs

  function join(go: () => void): void {
    waiting.push(go)
    if (waiting.length > 1) {
      if (timer && waiting.length >= expected()) goSoon()
    } else if (paceMs > 0 && areOthers()) timer = setTimeout(goSoon, paceMs)
    else goSoon()
  }

  return async (work) => {
    await new Promise<void>(join)
    let isHere = true
    const leave = () => {
      if (!isHere) return
      isHere = false
      running -= 1
      seen -= 1
    }
    running += 1
    try {
      return await work(leave)
    } finally {
      if (isHere) running -= 1
    }
  }
}

/** Within a cohort: resolves when the others have come as far. */
export const keepStep = (): Promise<void> => settled
const settled = Promise.resolve()
