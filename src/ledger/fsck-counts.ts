// For fsck.ts: how many answers were counted on each day, held against the entries of that day. For which outlet one was
// counted, its private row would say, and none is opened here.
import type { DatabaseSync } from 'node:sqlite'
import { carrierDay, printDay } from '../base/clock.ts'
import { type Entry, parseEntry } from './entry.ts'
import type { Fault } from './fsck.ts'

/** Answers yes, no and undecided of a day. */
type Count = [yes: number, no: number, undecided: number]
/** By carrierDay. */
export type DayCounts = Map<number, Count>

/** Adds an entry that is an answer to its day. */
export function countEntry(counts: DayCounts, { answer, timeMs }: Entry): void {
  if (answer === undefined) return
  const day = carrierDay(timeMs)
  const count = counts.get(day) ?? [0, 0, 0]
  count[answer - 1] = (count[answer - 1] as number) + 1
  counts.set(day, count)
}

/** Adds what several runs of entries came to. */
export function joinCounts(all: readonly DayCounts[]): DayCounts {
  const joined: DayCounts = new Map()
  for (const [day, [yes, no, undecided]] of all.flatMap((counts) => [...counts])) {
    const [y, n, u] = joined.get(day) ?? [0, 0, 0]
    joined.set(day, [y + yes, n + no, u + undecided])
  }
  return joined
}

/**
 * Holds the table `answered` against the entries, at one moment.
 * @param counted of the first `entries`, which were checked; those that came since are counted here
 */
export function checkCounts(db: DatabaseSync, counted: DayCounts, entries: number): Fault | undefined {
  db.exec('begin')
  try {
    const counts = joinCounts([counted])
    for (const { data } of db.prepare('select data from entries where idx >= ?').iterate(entries)) {
      const entry = data instanceof Uint8Array ? parseEntry(Buffer.from(data)) : undefined
      if (entry) countEntry(counts, entry)
    }
    return compare(db, counts)
  } finally {
    db.exec('commit')
  }
}

function compare(db: DatabaseSync, counts: DayCounts): Fault | undefined {
  const isOdd = ['yes', 'no', 'undecided', 'day'].map((name) => `typeof(${name}) <> 'integer' or ${name} < 0`)
  const days = db.prepare(
    `select day, sum(yes) as yes, sum(no) as no, sum(undecided) as undecided, max(${isOdd.join(' or ')}
     or typeof(carrier) <> 'text' or typeof(outlet) <> 'text') as odd from answered group by day order by day`,
  )
  const fault = (what: string): Fault => ({ index: undefined, what })
  const left = new Map(counts)
  for (const { day, yes, no, undecided, odd } of days.iterate()) {
    if (odd) return fault('a row of counted answers holds what is no count')
    const kept = [yes, no, undecided].join(', ')
    const made = (left.get(Number(day)) ?? [0, 0, 0]).join(', ')
    if (kept !== made) return faultOf(Number(day), kept, made)
    left.delete(Number(day))
  }
  const [missing] = left
  return missing && faultOf(missing[0], '0, 0, 0', missing[1].join(', '))
}

const faultOf = (day: number, kept: string, made: string): Fault => ({
  index: undefined,
  what: `the answers counted for ${printDay(day)} (yes, no, undecided) are ${kept}, and its entries are ${made}`,
})
