// Lets tasks that come one by one go on together, so that they do the same step one after another: code and tables of
// that step stay in the processor's caches, where between steps of other kinds each task would fetch them anew
// (cohort scheduling: Larus and Parkes, USENIX 2002).

/** Resolves soon after, with the others that asked meanwhile. */
export type JoinCohort = () => Promise<void>

/**
 * Those who join while the event loop reads what has come go on when it has read it. Promises settle in turn: all of
 * them take their first step, then all of them the second.
 * @param options.sizeMax how many go on at once; the others do so after the loop came round, in the order of asking
 */
export function createCohort({ sizeMax }: { sizeMax: number }): JoinCohort {
  let waiting: (() => void)[] = []

  function goOn(): void {
    const going = waiting
    waiting = going.splice(sizeMax)
    if (waiting.length > 0) setImmediate(goOn)
    for (const go of going) go()
  }

  return () =>
    new Promise<void>((go) => {
      if (waiting.length === 0) setImmediate(goOn)
      waiting.push(go)
    })
}
