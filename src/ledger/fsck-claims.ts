// For fsck.ts: what may stand only once. Each used challenge names an entry of its own, each entry that is young enough
// has its challenge, and each act has the number of the change that it records. Whether a challenge was ours, its MAC
// would say, whose key is gone by then; which request a session's digest is of, nothing in the ledger says.
import type { DatabaseSync } from 'node:sqlite'
import { present } from '../base/assert.ts'
import { limits } from '../base/limits.ts'
import { frameOf, parseFrames } from './bulk.ts'
import { deriveJti, entryType, hashJti, jtiHashAt, typeAt } from './entry.ts'
import { cachePragma, chunk, type Fault } from './fsck.ts'

const hashBytes = 32
const empty = Buffer.alloc(0)

/** Of the data of an entry: its type, its time as u64, and for a verification the hash of its token id. */
const headBytes = jtiHashAt + hashBytes - 1
const typeOf = (data: Buffer) => data[typeAt - 1]
const timeOf = (data: Buffer) => data.readUIntBE(typeAt + 5, 6) // 03 0008 and two bytes of zeros before it.

// A challenge: ver 1 | epoch 1 | issued u32 s | ttl u16 s | batch 8 | deviceTag 8 | count 1 | mac 16 | index 1
const at = { issued: 2, ttl: 6, count: 24, index: 41 } as const

/**
 * Half of how long used challenges are kept after their end. A challenge ends no more than seconds before the time of
 * its entry, so one whose entry is younger than this, by the time of the last entry, is always there. The other half
 * is for what may come between: a commit that only lost, up to 10 min after the last entry; a disk that stood still; a
 * clock that was set back, whose entries have the time of the last one before.
 */
const slackMs = limits.consumedKeepMs / 2

/** A used challenge with the entry that it names; undefined what is not there, or not stored as it should be. */
type Claim = Record<'challenge' | 'digest' | 'data', Buffer | undefined> &
  Record<'index' | 'expiresMs', number | undefined>

/** What is wrong with a used challenge by itself; '' if nothing is. */
function faultOfChallenge({ challenge, expiresMs: keptMs }: Claim, timeMs: number): string {
  if (challenge?.length !== limits.challengeBytes || challenge[0] !== 1)
    return 'its used challenge is not one'
  const [issuedS, ttlS] = [challenge.readUInt32BE(at.issued), challenge.readUInt16BE(at.ttl)]
  const [count, index] = [challenge[at.count] as number, challenge[at.index] as number]
  if (ttlS > limits.challengeTtlBatchS || count > limits.challengesPerBatchMax || index >= count)
    return 'its used challenge is not one'
  const expiresMs = (issuedS + ttlS) * 1000
  if (keptMs !== expiresMs) return 'its used challenge is kept with another end than its own'
  const isThen = timeMs >= issuedS * 1000 - slackMs && timeMs <= expiresMs + slackMs
  return isThen ? '' : 'its used challenge is of another time'
}

/** What is wrong between a used challenge and the entry that it names; '' if nothing is. */
function faultOfClaim(claim: Claim): string {
  const { digest, data } = claim
  const type = data && typeOf(data)
  const isAnswer =
    type === entryType.session ||
    (type === entryType.verify &&
      digest &&
      hashJti(deriveJti(digest)).equals(data?.subarray(jtiHashAt - 1) ?? empty))
  if (!data || !isAnswer) return 'a used challenge names it, and it is not its answer'
  if (digest?.length !== hashBytes || digest.every((byte) => byte === 0))
    return 'its used challenge is kept without the digest of its request'
  return faultOfChallenge(claim, timeOf(data))
}

/** Rows of used challenges with the entries that they name, a chunk at a time, each after the last of those before. */
function prepareClaims(db: DatabaseSync) {
  const data = `substr(e.data, 1, ${headBytes})`
  const columns = { blobs: ['c.challenge', 'c.digest', data], integers: ['c.idx', 'c.expires'] }
  const rows = db.prepare(
    `select cast(group_concat(frame, '') as blob) as frames, max(challenge) as last from (
       select c.challenge, ${frameOf(columns)} as frame from consumed c left join entries e on e.idx = c.idx
       where c.challenge > ? order by c.challenge limit ${chunk})`,
  )
  return (after: Uint8Array): { claims: Claim[]; last: Uint8Array } | undefined => {
    const { frames, last } = present(rows.get(after), 'an aggregate')
    if (frames === null) return undefined
    const claims = parseFrames(frames as Uint8Array, columns).map(({ blobs, integers }) => {
      const [[challenge, digest, data], [index, expiresMs]] = [blobs, integers]
      return { challenge, digest, data, index, expiresMs }
    })
    return { claims, last: last as Uint8Array }
  }
}

/**
 * Each used challenge names an entry of its own and what follows from it; each of the first `entries` that is young
 * enough has one.
 * @param onProgress told of challenges checked since the last call
 */
export function checkConsumed(
  db: DatabaseSync,
  entries: number,
  onProgress: (challenges: number) => void,
): Fault | undefined {
  db.exec(cachePragma)
  // In the order of keys everything that is not bytes comes before the first that is.
  if (db.prepare(`select 1 from consumed where challenge <= x'' limit 1`).get())
    return { index: undefined, what: 'a used challenge is not stored as bytes' }
  const readClaims = prepareClaims(db)
  const named = new Uint8Array(entries)
  for (let read = readClaims(empty); read; read = readClaims(read.last)) {
    for (const claim of read.claims) {
      const { index } = claim
      const what = faultOfClaim(claim)
      if (index === undefined || what !== '') return { index, what }
      if (named[index] === 1) return { index, what: 'two used challenges name it' }
      named[index] = 1 // Beyond the last, which came meanwhile: nothing is written.
    }
    onProgress(read.claims.length)
  }
  return findUnnamed(db, named)
}

/** The first entry that used a challenge, is too young for it to be forgotten, and is not named by any. */
function findUnnamed(db: DatabaseSync, named: Uint8Array): Fault | undefined {
  const head = db.prepare(`select substr(data, 1, ${headBytes}) as data from entries where idx = ?`)
  const last = db.prepare('select max(idx) as idx from entries')
  const headOf = (index: number) => Buffer.from((head.get(index)?.['data'] ?? empty) as Uint8Array)
  const timeAt = (index: number) => {
    const data = headOf(index)
    return data.length > typeAt + 10 ? timeOf(data) : 0 // The run of entries tells of one that is none.
  }
  // After all were read: whatever was forgotten meanwhile was so by the clock of an entry that stands now.
  const sinceMs = timeAt(Number(last.get()?.['idx'] ?? -1)) - slackMs
  let [low, high] = [0, named.length]
  while (low < high) {
    const middle = Math.floor((low + high) / 2)
    if (timeAt(middle) <= sinceMs) low = middle + 1
    else high = middle
  }
  for (let index = named.indexOf(0, low); index >= 0; index = named.indexOf(0, index + 1)) {
    const type = typeOf(headOf(index))
    if (type === entryType.verify || type === entryType.session)
      return { index, what: 'the challenge that it used is missing, and it is too young for that' }
  }
  return undefined
}

/**
 * Each act records a change of the registry, each change is recorded once, and in their order.
 * @param acts indices of the acts among the first `entries`, in order
 */
export function checkActs(db: DatabaseSync, acts: readonly number[], entries: number): Fault | undefined {
  const rows = db.prepare(
    'select a.seq, a.idx, e.idx as entry from acts a left join entries e on e.idx = a.idx order by a.seq',
  )
  let next = 0
  for (const { seq, idx, entry } of rows.iterate()) {
    if (!Number.isSafeInteger(seq) || Number(seq) < 1 || !Number.isSafeInteger(idx) || entry === null)
      return {
        index: undefined,
        what: `change ${seq} of the registry is recorded as entry ${idx}, which is not there`,
      }
    const index = Number(idx)
    if (index >= entries) continue // Came meanwhile.
    const act = acts[next++]
    if (act !== index && act !== undefined && act < index) return { index: act, what: unrecorded }
    if (act !== index) return { index, what: 'a change of the registry names it, and it is not its act' }
  }
  const act = acts[next]
  return act === undefined ? undefined : { index: act, what: unrecorded }
}

const unrecorded = 'it is an act, and no change of the registry names it'
