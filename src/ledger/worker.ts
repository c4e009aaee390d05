// The ledger's worker thread: seals, hashes and commits appends in groups, one fsync each (PROTOCOL section 9).
// It has the record and tag keys of the days it writes, handed over by the serving thread, and no KEK.
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { present } from '../base/assert.ts'
import { randomId, sha256 } from '../base/bytes.ts'
import { dayMs, epochOf } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import * as format from './entry.ts'
import { leafHash } from './hash.ts'
import { type Append, type Committed, type FromWorker, type ToWorker, unpackAppends } from './message.ts'
import { openLedgerFile, prepareWriter, type Result, type Row, type Wanted } from './sqlite.ts'

type Keys = { record: KeyObject; tag: KeyObject }
type Queued = { id: number; place: number; append: Append; nowMs: number }

const port = present(parentPort, 'the port of the ledger worker')
const db = openLedgerFile((workerData as { file: string }).file)
const writer = prepareWriter(db)
const keys = new Map<number, Keys>()
const queue: Queued[] = []
const refusedDays = new Set<number>()
let asked: number | undefined
let running = false
let closing = false

const post = (message: FromWorker) => port.postMessage(message)

port.on('message', (message: ToWorker) => {
  if (message.kind === 'append') {
    const { id, nowMs } = message
    for (const [place, append] of unpackAppends(message.packed).entries())
      queue.push({ id, place, append, nowMs })
  } else if (message.kind === 'keys') {
    const { day, record, tag } = message
    keys.set(day, { record: createSecretKey(record), tag: createSecretKey(tag) })
    for (const old of keys.keys()) if (old < day - 1) keys.delete(old)
    asked = undefined
  } else if (message.kind === 'noKeys') {
    refusedDays.add(message.day)
    asked = undefined
  } else closing = true
  void run()
})
post({ kind: 'ready' })

/** A group starts when the last commit returned; what arrived meanwhile is in it. */
async function run(): Promise<void> {
  if (running) return
  running = true
  try {
    while (queue.length > 0) {
      if (!commitGroup()) break // Waits for the keys of a day; their message runs this again.
      await turn()
    }
  } finally {
    running = false
  }
  if (closing && queue.length === 0) {
    db.close()
    port.close()
  }
}

/** False if the keys of the group's day are not here yet. */
function commitGroup(): boolean {
  const group = queue.slice(0, limits.ledgerGroupMax)
  const nowMs = Math.max(...group.map((queued) => queued.nowMs))
  const began = performance.now()
  try {
    const timeMs = Math.max(nowMs, writer.lastTimeMs())
    const day = epochOf(timeMs, dayMs)
    if (!keys.has(day)) {
      if (refusedDays.delete(day)) throw Object.assign(new Error('no keys'), { code: 'day_keys' })
      if (asked !== day) post({ kind: 'needKeys', day })
      asked = day
      return false
    }
    const results = writer.commit(group.map(want), timeMs)
    queue.splice(0, group.length)
    post({ kind: 'done', results: answer(group, results), size: group.length, ms: performance.now() - began })
  } catch (error) {
    // Nothing of the group is in the file. The next group is tried for itself, so a full disk heals alone.
    queue.splice(0, group.length)
    post({ kind: 'failed', results: failures(group), reason: reasonOf(error) })
  }
  return true
}

/** Fixed words for the operator: SQLite's own messages may name files. */
function reasonOf(error: unknown): string {
  const { errcode, code } = error as { errcode?: number; code?: string }
  if (errcode === undefined) return code === 'day_keys' ? 'day_keys' : 'commit_failed'
  const primary = errcode & 0xff // sqlite.org/rescode.html
  return (
    { 5: 'busy', 8: 'read_only', 10: 'io', 13: 'disk_full', 14: 'cannot_open' }[primary] ?? 'commit_failed'
  )
}

/** Runs of one message's appends that lie together in a group. */
function runsOf(group: Queued[]): { id: number; first: number; from: number; to: number }[] {
  const runs: { id: number; first: number; from: number; to: number }[] = []
  for (const [i, { id, place }] of group.entries()) {
    const open = runs.at(-1)
    if (open?.id === id) open.to = i + 1
    else runs.push({ id, first: place, from: i, to: i + 1 })
  }
  return runs
}

const answer = (group: Queued[], results: Result[]) =>
  runsOf(group).map(({ id, first, from, to }) => ({ id, first, committed: results.slice(from, to).map(own) }))

const failures = (group: Queued[]) =>
  runsOf(group).map(({ id, first, from, to }) => ({ id, first, count: to - from }))

/** Copies: a view of a pooled Buffer would be cloned with its pool. */
function own(result: Result): Committed {
  if ('lost' in result) return { index: result.index, lost: Uint8Array.from(result.lost) }
  return { index: result.index, timeMs: result.timeMs, leaf: Uint8Array.from(result.leaf) }
}

function want({ append }: Queued): Wanted {
  if (append.type === 'act') {
    const claim = append.seq === undefined ? undefined : { seq: append.seq }
    return { claim, make: (timeMs) => makeAct(append.kind, append.act, timeMs) }
  }
  const { challenge, digest, expiresMs } = append
  const claim = { challenge, digest, expiresMs }
  if (append.type === 'session') {
    return { claim, make: (timeMs) => makeAct(format.entryType.session, append.act, timeMs) }
  }
  return {
    claim: append.type === 'verify' ? claim : undefined,
    make: (timeMs) => makeVerification(append, timeMs),
  }
}

function dayKeys(timeMs: number) {
  const day = epochOf(timeMs, dayMs)
  return { day, ...present(keys.get(day), 'the keys of the day') }
}

function makeAct(type: number, act: string, timeMs: number): Row {
  const { day, record } = dayKeys(timeMs)
  const blind = randomId()
  const blob = format.sealRow(record, day, format.printPrivateAct(act, blind))
  const data = format.printEntry({ type, timeMs, actHash: format.hashAct(act, blind) })
  return { data, leaf: leafHash(data), day, subjectTag: randomId(), cardTag: randomId(), blob }
}

function makeVerification(append: Extract<Append, { type: 'verify' | 'undecided' }>, timeMs: number): Row {
  const { day, record, tag } = dayKeys(timeMs)
  const { carrier, outlet, device, courier, parcel, answer, sealedHash } = append
  const decided = append.type === 'verify'
  const jti = decided ? format.deriveJti(append.digest) : Buffer.alloc(16)
  const who = { carrier, outlet, device, courier, parcel, jti, blind: randomBytes(16) }
  const blob = format.sealRow(record, day, format.printPrivate(append.refusal, who, append.transaction))
  const tags = append.subject
    ? format.deriveTags(tag, append.subject)
    : { subjectTag: randomId(), cardTag: randomId() }
  const data = format.printEntry({
    type: format.entryType[append.type],
    timeMs,
    who: format.hashWho(who),
    answer,
    sealedHash,
    ...(decided ? { jtiHash: format.hashJti(jti) } : {}),
    privateHash: sha256(blob),
  })
  return { data, leaf: leafHash(data), day, ...tags, blob }
}
