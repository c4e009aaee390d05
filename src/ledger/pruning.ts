// Used challenges are forgotten when nothing can ask for them any more (PROTOCOL section 4). No index tells which
// these are: a challenge begins with the hour and the second of its issue, so in the order of the key they lie together,
// round a ring of 256 hours, outside of what was issued lately. Finding that there are none costs two seeks.
import type { DatabaseSync } from 'node:sqlite'
import { epochOf, hourMs } from '../base/clock.ts'
import { limits } from '../base/limits.ts'

/** Looked at by one commit: a backlog must not hold it up, and what it adds itself must be less. */
const prunedMax = 2 * limits.ledgerGroupMax

/** How a challenge begins that was issued in this hour: ver 1 | hours modulo 256 (src/channel/challenge.ts). */
const hourStart = (hour: number) => Buffer.from([1, hour & 0xff])

/** How a challenge begins that was issued at this time: its hour, then the Unix time in seconds as u32. */
function issueStart(issuedMs: number): Buffer {
  const start = Buffer.alloc(6)
  hourStart(epochOf(issuedMs, hourMs)).copy(start)
  start.writeUInt32BE(Math.floor(issuedMs / 1000), 2)
  return start
}

/**
 * Where the keys lie of challenges that ended before `endedMs`, as ranges that begin with the first and are below the
 * second: from the hour after next, which comes before everything else on the ring, to the last such issue.
 */
export function endedRanges(endedMs: number, nowMs: number): [from: Buffer, below: Buffer][] {
  const from = hourStart(epochOf(nowMs, hourMs) + 2)
  const below = issueStart(Math.max(0, endedMs - limits.challengeTtlBatchS * 1000))
  if (from.compare(below) < 0) return [[from, below]]
  return [
    [hourStart(0), below],
    [from, Buffer.from([2])],
  ]
}

/** Over the writer's handle; the function belongs into its transaction, and forgets what ended before `endedMs`. */
export function preparePruning(db: DatabaseSync): (endedMs: number, nowMs: number) => void {
  const forget = db.prepare(
    `delete from consumed where challenge in
     (select challenge from
      (select challenge, expires from consumed where challenge >= ? and challenge < ? order by challenge limit ?)
      where expires < ?)`,
  )
  return (endedMs, nowMs) => {
    let left = prunedMax
    for (const [from, below] of endedRanges(endedMs, nowMs)) {
      left -= Number(forget.run(from, below, left, endedMs).changes)
    }
  }
}
