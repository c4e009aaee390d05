// Which keys a destruction names: those past their life, as runs of epochs by kind, short enough for one act.
import type { DatabaseSync } from 'node:sqlite'
import { endOfLife, type KindName } from './kinds.ts'

/** Runs of epochs by kind, first and last included; every epoch of a run has a key. */
export type Targets = Partial<Record<KindName, [first: number, last: number][]>>

/** Kinds that only a destruction ends (PROTOCOL section 3). */
const destroyedKinds = ['record', 'tag', 'recipient'] as const satisfies readonly KindName[]
/** Of each kind in one destruction: its act must fit in an entry, were no two epochs neighbours. */
const targetsMax = 1000

/** The oldest keys past their life; empty if none is. */
export function findDue(db: DatabaseSync, given: { nowMs: number; retentionMs: number }): Targets {
  const { nowMs, retentionMs } = given
  const select = db.prepare('select epoch from keyring where kind = ? order by epoch')
  const targets: Targets = {}
  for (const kind of destroyedKinds) {
    const due = select
      .all(kind)
      .map((row) => Number(row['epoch']))
      .filter((epoch) => endOfLife(kind, epoch, retentionMs) <= nowMs)
    if (due.length > 0) targets[kind] = runsOf(due.slice(0, targetsMax))
  }
  return targets
}

/** @param epochs ascending */
function runsOf(epochs: readonly number[]): [number, number][] {
  const runs: [number, number][] = []
  for (const epoch of epochs) {
    const last = runs.at(-1)
    if (last?.[1] === epoch - 1) last[1] = epoch
    else runs.push([epoch, epoch])
  }
  return runs
}

const entriesOf = (targets: Targets) => Object.entries(targets) as [KindName, [number, number][]][]

export const countTargets = (targets: Targets) =>
  entriesOf(targets)
    .flatMap(([, runs]) => runs)
    .reduce((count, [first, last]) => count + last - first + 1, 0)

export const isTarget = (targets: Targets, kind: KindName, epoch: number) =>
  (targets[kind] ?? []).some(([first, last]) => first <= epoch && epoch <= last)

/** `record 20000-20729, 20731 · tag 20000`: for a person. */
export const printTargets = (targets: Targets) =>
  entriesOf(targets)
    .map(([kind, runs]) => {
      const printed = runs.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`))
      return `${kind} ${printed.join(', ')}`
    })
    .join(' · ')
