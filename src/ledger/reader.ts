// Reads of the ledger on a handle of their own: readers of a WAL never wait for its writer. It knows rows and
// tiles, and neither keys nor HTTP.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { hashJti, parseEntry } from './entry.ts'
import { prepareFinding } from './finds.ts'
import type { Signed } from './integrator.ts'
import { printBundle, tileWidth } from './tile.ts'
import { prepareTiles } from './tiles.ts'

const own = (bytes: unknown) => Buffer.from(bytes as Uint8Array)

/** Reads of the serving thread, on a handle of its own: WAL readers never wait for the writer. */
export function prepareReader(db: DatabaseSync) {
  return { ...prepareRows(db), ...prepareTree(db), ...prepareSearch(db), ...prepareCounts(db) }
}

/** What an outlet was answered on a day (carrierDay). */
export type Answered = { day: number; outlet: string; yes: number; no: number; undecided: number }
/** A page of what a carrier's outlets did: after a day and outlet, in their order, up to `toDay`. */
export type DaysAsked = {
  carrier: string
  after: { day: number; outlet: string }
  toDay: number
  limit: number
}

function prepareCounts(db: DatabaseSync) {
  const rows = db.prepare(
    `select day, outlet, yes, no, undecided from answered
     where carrier = ? and (day, outlet) > (?, ?) and day <= ? order by day, outlet limit ?`,
  )
  const sum = db.prepare(
    `select coalesce(sum(yes + no), 0) as answers, coalesce(sum(undecided), 0) as undecided from answered
     where carrier = ? and day >= ? and day <= ?`,
  )
  return {
    answeredOf: ({ carrier, after, toDay, limit }: DaysAsked): Answered[] =>
      rows.all(carrier, after.day, after.outlet, toDay, limit).map((row) => ({
        ...{ day: Number(row['day']), outlet: String(row['outlet']) },
        ...{ yes: Number(row['yes']), no: Number(row['no']), undecided: Number(row['undecided']) },
      })),
    /** How many answers, yes or no, a carrier was given in these days, and how many were left undecided. */
    countAnswers(carrier: string, fromDay: number, toDay: number): { answers: number; undecided: number } {
      const row = present(sum.get(carrier, fromDay, toDay), 'a sum')
      return { answers: Number(row['answers']), undecided: Number(row['undecided']) }
    },
  }
}

/** Entries by their token id, or by the tag of a person or card. */
function prepareSearch(db: DatabaseSync) {
  const dataOf = db.prepare('select data from entries where idx = ?')
  const tags = db.prepare('select subject_tag, card_tag from private_rows where idx = ?')
  const last = db.prepare('select max(idx) as idx from entries')
  const find = prepareFinding(db)
  const countEntries = () => Number(last.get()?.['idx'] ?? -1) + 1
  const readAt = (index: number) => {
    const row = dataOf.get(index)
    return row && parseEntry(own(row['data']))
  }

  /** Index of the first entry not before `sinceMs`: times never go back (PROTOCOL section 9). */
  function firstSince(sinceMs: number, size: number): number {
    let [low, high] = [0, size]
    while (low < high) {
      const middle = Math.floor((low + high) / 2)
      if (present(readAt(middle), 'an entry').timeMs < sinceMs) low = middle + 1
      else high = middle
    }
    return low
  }

  return {
    /** Index of the verification with this token id, in the tree or not yet. */
    indexOfJti(jti: Buffer): number | undefined {
      const hash = hashJti(jti)
      return find('jti', hash, countEntries()).find((index) => readAt(index)?.jtiHash?.equals(hash))
    },
    /** Indices of the entries not before `sinceMs` whose private row has this tag, 16 bytes; lowest first. */
    indicesOfTag(kind: 'subject' | 'card', tag: Buffer, sinceMs: number): number[] {
      const size = countEntries()
      const column = kind === 'subject' ? 'subject_tag' : 'card_tag'
      const found = find(kind, tag, size, firstSince(sinceMs, size))
      return found.filter((index) => tag.equals(own(tags.get(index)?.[column] ?? Buffer.alloc(0))))
    },
  }
}

/** Entries, private rows, and what was consumed or recorded. */
function prepareRows(db: DatabaseSync) {
  const consumed = db.prepare(
    'select c.digest, c.idx, e.data, e.leaf from consumed c join entries e on e.idx = c.idx where challenge = ?',
  )
  const lastSeq = db.prepare('select max(seq) as seq from acts')
  const ofSeq = db.prepare('select idx from acts where seq = ?')
  const size = db.prepare('select max(idx) as idx from entries')
  const entry = db.prepare('select data, leaf from entries where idx = ?')
  const row = db.prepare('select day, subject_tag, card_tag, blob from private_rows where idx = ?')
  return {
    findConsumed(challenge: Buffer) {
      const found = consumed.get(challenge)
      return (
        found && {
          digest: own(found['digest']),
          index: Number(found['idx']),
          data: own(found['data']),
          leaf: own(found['leaf']),
        }
      )
    },
    lastSeq: () => Number(lastSeq.get()?.['seq'] ?? 0),
    indexOfSeq(seq: number): number | undefined {
      const found = ofSeq.get(seq)
      return found && Number(found['idx'])
    },
    size: () => Number(size.get()?.['idx'] ?? -1) + 1,
    readEntry(index: number) {
      const found = entry.get(index)
      return found && { data: own(found['data']), leaf: own(found['leaf']) }
    },
    readPrivate(index: number) {
      const found = row.get(index)
      return (
        found && {
          day: Number(found['day']),
          subjectTag: own(found['subject_tag']),
          cardTag: own(found['card_tag']),
          blob: own(found['blob']),
        }
      )
    },
  }
}

const nothing: Signed = { size: 0, note: '' }

/** Checkpoints, tiles and bundles. */
function prepareTree(db: DatabaseSync) {
  const checkpoint = db.prepare('select size, note, published_size, published from checkpoints where id = 1')
  const bundle = db.prepare('select data from entries where idx >= ? and idx < ? order by idx')
  const tiles = prepareTiles(db)

  function readCheckpoint(): { signed: Signed; published: Signed } {
    const row = checkpoint.get()
    if (!row) return { signed: nothing, published: nothing }
    return {
      signed: { size: Number(row['size']), note: String(row['note']) },
      published: { size: Number(row['published_size']), note: String(row['published']) },
    }
  }

  return {
    /** The latest that we signed, and what of it may be shown; size 0 before the first. */
    checkpoint: readCheckpoint,
    /** @throws Error beyond what was integrated */
    readTile: tiles.read,
    /** @throws Error beyond the last entry */
    readBundle(n: number, width: number): Buffer {
      const rows = bundle.all(n * tileWidth, n * tileWidth + width)
      return printBundle(Array.from({ length: width }, (_, i) => own(present(rows[i], 'an entry')['data'])))
    },
  }
}
