// Parts of what a gateway does, each measured alone: the CPU time of a process that does nothing else meanwhile.

/** Each does its part once for every input. */
export type Works<Part extends string> = Record<Part, (round: number) => Promise<unknown> | undefined>

export const must = (right: unknown) => {
  if (!right) throw new Error('A part came to another end.')
}

/** Does `work` for each, so many at once, and waits for all. */
export async function forEach<T>(
  all: readonly T[],
  atOnce: number,
  work: (one: T, i: number) => unknown,
): Promise<void> {
  let next = 0
  const lane = async () => {
    while (next < all.length) {
      const i = next++
      await work(all[i] as T, i)
    }
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
}

/** CPU microseconds of each part for one of `count` inputs: the median of the rounds but the first, which warms up. */
export async function measureAlone<Part extends string>(
  works: Works<Part>,
  count: number,
  rounds: number,
): Promise<Record<Part, number>> {
  const seen = new Map<string, number[]>()
  for (let round = 0; round <= rounds; round++) {
    for (const [name, work] of Object.entries(works) as [Part, Works<Part>[Part]][]) {
      const before = process.cpuUsage()
      await work(round)
      const { user, system } = process.cpuUsage(before)
      if (round > 0) seen.set(name, [...(seen.get(name) ?? []), (user + system) / count])
    }
  }
  const median = (all: number[]) => all.toSorted((a, b) => a - b)[Math.floor(all.length / 2)] ?? 0
  return Object.fromEntries([...seen].map(([name, all]) => [name, median(all)])) as Record<Part, number>
}
