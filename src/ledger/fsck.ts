// Reads a whole ledger again, entry by entry: data, leaf, private row, search keys. It trusts nothing that is stored,
// and names the first entry that is wrong. Read only, in short reads of what no longer changes, so that it may run
// beside a gateway. What is over the entries is checked beside it: fsck-tree.ts, fsck-claims.ts, fsck-finds.ts.
import type { DatabaseSync } from 'node:sqlite'
import { sha256 } from '../base/bytes.ts'
import { dayMs, epochOf } from '../base/clock.ts'
import { frameOf, joinedBy, parseFrames } from './bulk.ts'
import { type Entry, entryType, parseEntry } from './entry.ts'
import { countEntry, type DayCounts } from './fsck-counts.ts'
import { prepareFiledCheck } from './fsck-finds.ts'
import { leafHash } from './hash.ts'
import { tileWidth } from './tile.ts'
import { hashTile } from './tiles.ts'

/** A sentence for a person; `index` of the first entry that it is about, if it is about one. */
export type Fault = { index: number | undefined; what: string }

/**
 * What a run of entries came to: the hash of each full tile of leaves in it, the indices of its acts and
 * its answers by day, or its first fault.
 */
export type Run = {
  tileHashes: Buffer[]
  acts: number[]
  counts: DayCounts
  firstMs: number
  lastMs: number
  fault: Fault | undefined
}

/** Rows read at once: they and what is made of them stay in the processor's cache. */
export const chunk = 256
export const cachePragma = 'pragma cache_size = -65536' // KiB: entries and what refers to them lie far apart.

const hashBytes = 32
const tagBytes = 16
const empty = Buffer.alloc(0)

/** Columns of an entry and its private row; undefined where there is none, or it holds no bytes. */
type Row = Record<'data' | 'leaf' | 'blob' | 'subjectTag' | 'cardTag', Buffer | undefined>

/** What is wrong with one entry by itself, after one of time `lastMs`; '' if nothing is. */
function faultOf(
  { data, leaf, blob, subjectTag, cardTag }: Row,
  entry: Entry | undefined,
  lastMs: number,
): string {
  if (!data || !leaf) return 'its data or its leaf is not stored as bytes'
  if (!leafHash(data).equals(leaf)) return 'its leaf is not the hash of its data'
  if (!entry) return 'its data is not that of an entry'
  if (entry.timeMs < lastMs) return `its time ${entry.timeMs} is before that of the entry before it`
  if (!blob) return 'its private row is missing, or holds no bytes'
  if (entry.privateHash && !entry.privateHash.equals(sha256(blob))) return 'its private row was altered'
  if (subjectTag?.length !== tagBytes || cardTag?.length !== tagBytes) return 'its tags are not of 16 bytes'
  return ''
}

/** Entries `begin` up to `end`, those that are there, in order; and the first and the last day of their rows. */
function prepareRows(db: DatabaseSync) {
  const columns = { blobs: ['e.data', 'e.leaf', 'p.blob', 'p.subject_tag', 'p.card_tag'] }
  const rows = db.prepare(
    `select ${joinedBy('frame', 'idx')} as frames, min(day) as first, max(day) as last
     from (select e.idx, p.day, ${frameOf(columns)} as frame
     from entries e left join private_rows p on p.idx = e.idx where e.idx >= ? and e.idx < ?)`,
  )
  return (begin: number, end: number): { rows: Row[]; first: unknown; last: unknown } => {
    const { frames, first, last } = rows.get(begin, end) ?? {}
    const named = parseFrames((frames ?? empty) as Uint8Array, columns).map(({ blobs }) => {
      const [data, leaf, blob, subjectTag, cardTag] = blobs
      return { data, leaf, blob, subjectTag, cardTag }
    })
    return { rows: named, first, last }
  }
}

/** The day of a private row is the one whose keys sealed it: that of the entry's time. */
function prepareDays(db: DatabaseSync) {
  const days = db.prepare('select day from private_rows where idx = ?')
  return (
    begin: number,
    times: readonly number[],
    found: { first: unknown; last: unknown },
  ): Fault | undefined => {
    const [first, last] = [epochOf(times[0] ?? 0, dayMs), epochOf(times.at(-1) ?? 0, dayMs)]
    if (first === last && found.first === first && found.last === last) return undefined
    // The hour that a day ends in, or a fault: one by one.
    for (const [i, timeMs] of times.entries()) {
      if (days.get(begin + i)?.['day'] !== epochOf(timeMs, dayMs))
        return { index: begin + i, what: 'its private row is kept under another day than that of its time' }
    }
    return undefined
  }
}

/**
 * Checks entries `begin` up to `end` by themselves; `begin` is a multiple of 256.
 * @param onProgress told of entries checked since the last call
 */
export function checkRun(
  db: DatabaseSync,
  range: { begin: number; end: number },
  onProgress: (entries: number) => void,
): Run {
  db.exec(cachePragma)
  const readRows = prepareRows(db)
  const checkDays = prepareDays(db)
  const checkFiled = prepareFiledCheck(db)
  const tileHashes: Buffer[] = []
  const acts: number[] = []
  const counts: DayCounts = new Map()
  const tile = Buffer.alloc(tileWidth * hashBytes)
  let firstMs: number | undefined
  let lastMs = 0
  const end = (fault: Fault | undefined): Run => ({
    ...{ tileHashes, acts, counts, firstMs: firstMs ?? 0, lastMs, fault },
  })
  for (let at = range.begin; at < range.end; ) {
    const to = Math.min(at + chunk, range.end)
    const whole = readRows(at, to)
    // Where one is missing it is found one by one.
    const { rows, ...days } = whole.rows.length === to - at ? whole : readRows(at, at + 1)
    if (rows.length === 0) return end({ index: at, what: 'there is no such entry' })
    const [begin, times] = [at, [] as number[]]
    for (const row of rows) {
      const entry = parseEntry(row.data ?? empty)
      const what = faultOf(row, entry, lastMs)
      if (what !== '' || !entry) return end({ index: at, what })
      const misfiled = checkFiled(at, [entry.jtiHash, row.subjectTag, row.cardTag])
      if (misfiled) return end(misfiled)
      lastMs = entry.timeMs
      firstMs ??= lastMs
      times.push(lastMs)
      if (entry.type > entryType.session) acts.push(at)
      countEntry(counts, entry)
      tile.set(row.leaf ?? empty, (at % tileWidth) * hashBytes)
      if (++at % tileWidth === 0) tileHashes.push(hashTile(tile))
    }
    const fault = checkDays(begin, times, days)
    if (fault) return end(fault)
    onProgress(rows.length)
  }
  return end(undefined)
}

/** Private rows are those of the entries and no more: the next entry could not be written. Of one moment. */
export function checkBounds(db: DatabaseSync): Fault | undefined {
  const bounds = db.prepare(
    `select (select min(idx) from entries) as first, (select max(idx) from entries) as last,
     (select min(idx) from private_rows) as first_row, (select max(idx) from private_rows) as last_row`,
  )
  const { first, last, first_row, last_row } = bounds.get() ?? {}
  if (first !== null && first !== 0) return { index: Number(first), what: 'it is before entry 0' }
  if (first_row === first && last_row === last) return undefined
  const index = first_row === first ? last_row : first_row
  return {
    index: index === null ? undefined : Number(index),
    what: 'there is a private row without an entry',
  }
}
