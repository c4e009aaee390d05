// Lets tasks that come one by one go on together, so that they do the same step one after another: code and tables of
// that step stay in the processor's caches, where between steps of other kinds each task would fetch them anew
// (cohort scheduling: Larus and Parkes, USENIX 2002).

/** Runs work with that of others who came meanwhile, and gives what it comes to. */
export type RunInCohort = <T>(work: () => Promise<T> | T) => Promise<T>

/**
 * Those who come while the event loop reads what has come go on when it has read it. Promises settle in turn: all of
 * them take their first step, then all of them the second. All go on at once, however many: who was left waiting here
 * would not make the loop late, and no one would see that there is too much to do.
 * @param paceMs as long as work of an earlier cohort is under way, the next begins at least so long after the last:
 *   what comes one by one would otherwise go on one by one, and need all the more of the processor
 */
export function createCohort(paceMs = 0): RunInCohort {
  let waiting: (() => void)[] = []
  let running = 0
  let wentAt = Number.NEGATIVE_INFINITY

  function goOn(): void {
    const going = waiting
    waiting = []
    wentAt = performance.now()
    for (const go of going) go()
  }

  function gather(): void {
    const leftMs = running > 0 ? wentAt + paceMs - performance.now() : 0
    if (leftMs > 0) setTimeout(goOn, leftMs)
    else setImmediate(goOn)
  }

  return async (work) => {
    await new Promise<void>((go) => {
      if (waiting.length === 0) gather()
      waiting.push(go)
    })
    running += 1
    try {
      return await work()
    } finally {
      running -= 1
    }
  }
}

/** Within a cohort: resolves when the others have come as far. */
export const keepStep = (): Promise<void> => settled
const settled = Promise.resolve()
