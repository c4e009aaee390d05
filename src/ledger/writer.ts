// The one transaction that commits a group of entries (PROTOCOL sections 4, 9). Several processes may share the
// file: `begin immediate` lets one group through at a time, and everything a group depends on (the next index,
// the last time, what is consumed) is read inside it.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { carrierDay } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { parseEntry } from './entry.ts'
import { preparePruning } from './pruning.ts'

/** An entry and its private row, ready to be written. */
export type Row = {
  data: Buffer
  leaf: Buffer
  day: number
  subjectTag: Buffer
  cardTag: Buffer
  blob: Buffer
}

/** What makes an append unique: a challenge with its digest, or the seq of a change. */
export type Claim = { challenge: Buffer; digest: Buffer; expiresMs: number } | { seq: number } | undefined

/** What an entry is counted under; undefined for what is no verification. */
export type Counted = { carrier: string; outlet: string; answer: 1 | 2 | 3 } | undefined

export type Wanted = { claim: Claim; counted?: Counted; make(timeMs: number): Row }
export type Result = { index: number; timeMs: number; leaf: Buffer } | { index: number; lost: Buffer }

/** The inserts of a group, prepared over one handle; they mean something only inside its transaction. */
function prepareInserts(db: DatabaseSync) {
  const last = db.prepare('select idx, data from entries order by idx desc limit 1')
  const entry = db.prepare('insert into entries (idx, data, leaf) values (?, ?, ?)')
  const row = db.prepare(
    'insert into private_rows (idx, day, subject_tag, card_tag, blob) values (?, ?, ?, ?, ?)',
  )
  const consume = db.prepare(
    'insert into consumed (challenge, digest, idx, expires) values (?, ?, ?, ?) on conflict do nothing',
  )
  const winner = db.prepare('select digest, idx from consumed where challenge = ?')
  const act = db.prepare('insert into acts (seq, idx) values (?, ?) on conflict do nothing')
  const actOf = db.prepare('select idx from acts where seq = ?')

  /** Undefined if the claim is ours now, else what stands. */
  function claimAt(claim: Claim, index: number): { index: number; lost: Buffer } | undefined {
    if (!claim) return undefined
    if ('seq' in claim) {
      if (act.run(claim.seq, index).changes === 1) return undefined
      const standing = present(actOf.get(claim.seq), 'the entry of a change')
      return { index: Number(standing['idx']), lost: Buffer.alloc(0) }
    }
    if (consume.run(claim.challenge, claim.digest, index, claim.expiresMs).changes === 1) return undefined
    const standing = present(winner.get(claim.challenge), 'the winner of a challenge')
    return { index: Number(standing['idx']), lost: Buffer.from(standing['digest'] as Uint8Array) }
  }

  return {
    /** Index of the next entry, and the time that it may not precede. */
    readHead(): { next: number; lastMs: number } {
      const standing = last.get()
      if (!standing) return { next: 0, lastMs: 0 }
      const data = parseEntry(Buffer.from(standing['data'] as Uint8Array))
      return { next: Number(standing['idx']) + 1, lastMs: present(data, 'the form of the last entry').timeMs }
    },
    /** Only what wins its claim gets an index, so indices stay contiguous. */
    insertGroup(group: readonly Wanted[], from: number, timeMs: number): Result[] {
      let next = from
      return group.map(({ claim, make }) => {
        const taken = claimAt(claim, next)
        if (taken) return taken
        const { data, leaf, day, subjectTag, cardTag, blob } = make(timeMs)
        const index = next++
        entry.run(index, data, leaf)
        row.run(index, day, subjectTag, cardTag, blob)
        return { index, timeMs, leaf }
      })
    },
  }
}

/** Adds to what each outlet was answered on a day (carrierDay), in the transaction of the entries. */
function prepareCounting(db: DatabaseSync) {
  const add = db.prepare(
    `insert into answered (carrier, day, outlet, yes, no, undecided) values (?, ?, ?, ?, ?, ?)
     on conflict do update set yes = yes + excluded.yes, no = no + excluded.no,
     undecided = undecided + excluded.undecided`,
  )
  return (group: readonly Wanted[], results: readonly Result[], timeMs: number): void => {
    const counts = new Map<
      string,
      [carrier: string, outlet: string, yes: number, no: number, undecided: number]
    >()
    for (const [i, { counted }] of group.entries()) {
      if (!counted || 'lost' in (results[i] as Result)) continue
      const { carrier, outlet, answer } = counted
      const place = `${carrier}/${outlet}`
      const count = counts.get(place) ?? [carrier, outlet, 0, 0, 0]
      count[answer + 1] = (count[answer + 1] as number) + 1
      counts.set(place, count)
    }
    const day = carrierDay(timeMs)
    for (const [carrier, outlet, ...sums] of counts.values()) add.run(carrier, day, outlet, ...sums)
  }
}

/** The writer over one handle; its `commit` is the commit point of the whole gateway. */
export function prepareWriter(db: DatabaseSync) {
  const inserts = prepareInserts(db)
  const prune = preparePruning(db)
  const count = prepareCounting(db)
  return {
    /**
     * Commits a group at one time, which is `nowMs` or, if that would go back, the last entry's.
     * @param mayWrite told that time inside the transaction; if false, nothing is written
     * @returns one result for each wanted, in order; undefined if `mayWrite` said no
     * @throws what SQLite or `make` throws, and then nothing of the group is in the file
     */
    commit(
      group: readonly Wanted[],
      nowMs: number,
      mayWrite: (timeMs: number) => boolean,
    ): Result[] | undefined {
      if (db.isTransaction) db.exec('rollback') // A rollback that failed with the disk is made up for.
      db.exec('begin immediate')
      try {
        const { next, lastMs } = inserts.readHead()
        const timeMs = Math.max(nowMs, lastMs)
        if (!mayWrite(timeMs)) {
          db.exec('rollback')
          return undefined
        }
        const results = inserts.insertGroup(group, next, timeMs)
        count(group, results, timeMs)
        // By our own clock: another process whose clock runs ahead must not shorten what is kept.
        prune(nowMs - limits.consumedKeepMs, nowMs)
        // Dying before the next line leaves nothing: no challenge is consumed, a retry runs afresh.
        db.exec('commit')
        // Dying after it leaves the whole group, durable and not yet acknowledged: the retry of any request in
        // it meets its own digest in `consumed` and gets the answer that stands.
        return results
      } catch (error) {
        rollBack(db)
        throw error
      }
    },
  }
}

function rollBack(db: DatabaseSync): void {
  try {
    if (db.isTransaction) db.exec('rollback')
  } catch {
    // The disk refuses this too. The error that led here is thrown on; the next commit rolls back first.
  }
}
