// Lets tasks that come one by one go on together, so that they do the same step one after another: code and tables of
// that step stay in the processor's caches, where between steps of other kinds each task would fetch them anew
// (cohort scheduling: Larus and Parkes, USENIX 2002).

/** Resolves soon after, with the others that asked meanwhile. */
export type JoinCohort = () => Promise<void>

/**
 * Those who join while the event loop reads what has come go on when it has read it. Promises settle in turn: all of
 * them take their first step, then all of them the second. All go on at once, however many: who was left waiting here
 * would not make the loop late, and no one would see that there is too much to do.
 */
export function createCohort(): JoinCohort {
  let waiting: (() => void)[] = []

  function goOn(): void {
    const going = waiting
    waiting = []
    for (const go of going) go()
  }

  return () =>
    new Promise<void>((go) => {
      if (waiting.length === 0) setImmediate(goOn)
      waiting.push(go)
    })
}

/** Within a cohort: resolves when the others have come as far. */
export const keepStep = (): Promise<void> => settled
const settled = Promise.resolve()
