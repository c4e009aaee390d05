// The ledger's worker thread: seals, hashes and commits appends in groups, one fsync each (PROTOCOL section 9).
// It has the record and tag keys of the days it writes, handed over by the serving thread, and no KEK.
import { createSecretKey, type KeyObject } from 'node:crypto'
import { setImmediate as turn } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import { present } from '../base/assert.ts'
import { randomId, sha256 } from '../base/bytes.ts'
import { dayMs, epochOf } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import * as format from './entry.ts'
import { prepareFiling } from './finds.ts'
import { leafHash } from './hash.ts'
import { LedgerInconsistent } from './head.ts'
import { prepareIntegrator } from './integrator.ts'
import { type Append, type Committed, type FromWorker, type ToWorker, unpackAppends } from './message.ts'
import type { Signer } from './note.ts'
import { nameSqliteError, openLedgerFile } from './sqlite.ts'
import { prepareWriter, type Result, type Row, type Wanted } from './writer.ts'

type Keys = { record: KeyObject; tag: KeyObject }
type Queued = { id: number; append: Append; nowMs: number }

class KeysRefused extends Error {}

const port = present(parentPort, 'the port of the ledger worker')
export type WorkerData = {
  file: string
  /** Undefined: nothing is integrated or signed here. */
  checkpoints: { signer: Signer; headFile: string; witnessed: boolean } | undefined
}

const { file: databaseFile, checkpoints } = workerData as WorkerData
const db = openLedgerFile(databaseFile)
const writer = prepareWriter(db)
const integrator = checkpoints && prepareIntegrator({ db, ...checkpoints })
const filing = checkpoints && prepareFiling(db)
const keys = new Map<number, Keys>()
const queue: Queued[] = []
/** The day whose keys were asked for; the queue is held until the answer. */
let awaited: { day: number; refused: boolean } | undefined
let running = false
let closing = false
let nextCheckpoint: NodeJS.Timeout | undefined
let nextFiling: NodeJS.Timeout | undefined
/** Entries that are committed, as far as this thread knows. */
let committed = integrator?.size() ?? 0
/** Read when there is time. */
const filedAtOnce = 128
/** Entries that may wait to be read for their search block: more than that are read between two groups. */
const unreadMax = limits.ledgerGroupMax

const post = (message: FromWorker) => port.postMessage(message)

port.on('message', (message: ToWorker) => {
  if (message.kind === 'append') takeAppends(message)
  else if (message.kind === 'keys') takeKeys(message)
  else if (message.kind === 'close') closing = true
  else if (message.kind === 'publish') publish(message)
  else if (awaited?.day === message.day) awaited.refused = true
  void run()
})
// What a process that died had committed and not integrated, before anything is told to be ready.
if (checkpoint()) {
  post({ kind: 'ready' })
  nextFiling ??= setTimeout(fileSome, 0)
}

function takeAppends({ id, nowMs, packed }: Extract<ToWorker, { kind: 'append' }>): void {
  for (const append of unpackAppends(packed)) queue.push({ id, append, nowMs })
}

function takeKeys({ day, record, tag }: Extract<ToWorker, { kind: 'keys' }>): void {
  keys.set(day, { record: createSecretKey(record), tag: createSecretKey(tag) })
  record.fill(0) // They were transferred: no other copy of these bytes is left.
  tag.fill(0)
  if (awaited?.day === day) awaited = undefined
}

/**
 * Integrates and signs what was committed since the last time. A disk that is full is tried again with the next
 * entries; a ledger that is not the one that was signed ends this worker, and then nothing is answered.
 * @returns false for such a ledger
 */
function checkpoint(): boolean {
  nextCheckpoint = undefined
  try {
    const made = integrator?.step()
    if (!made) return true
    post({ kind: 'checkpoint', size: made.size, note: made.note })
    if (!closing) nextFiling ??= setTimeout(fileSome, 0)
    // Between two steps appends have their turn.
    if (made.more && closing) return checkpoint()
    if (made.more) nextCheckpoint = setTimeout(checkpoint, 0)
    return true
  } catch (error) {
    if (error instanceof LedgerInconsistent) {
      post({ kind: 'inconsistent', reason: error.reason, message: error.message })
      queue.length = 0 // Told by this worker's end.
      db.close()
      port.close()
      return false
    }
    post({ kind: 'unsigned', reason: nameSqliteError(error) })
    // At the end of the process it is left to the next start, which begins with it.
    if (!closing) nextCheckpoint = setTimeout(checkpoint, limits.checkpointEveryMs)
    return true
  }
}

/** A group starts when the last commit returned; what arrived meanwhile is in it. */
async function run(): Promise<void> {
  if (running) return
  running = true
  // Dying while anything waits here loses only appends that nobody was told of: their retries run afresh.
  while (queue.length > 0 && commitGroup()) {
    if (!closing) nextCheckpoint ??= setTimeout(checkpoint, limits.checkpointEveryMs)
    keepFiled()
    await turn()
  }
  running = false
  if (queue.length > 0 || !closing) return
  clearTimeout(nextCheckpoint)
  clearTimeout(nextFiling)
  checkpoint()
  db.close()
  port.close()
}

function publish(message: Extract<ToWorker, { kind: 'publish' }>): void {
  try {
    integrator?.publish(message)
  } catch (error) {
    post({ kind: 'unsigned', reason: nameSqliteError(error) }) // Witnesses are asked again for the next one.
  }
}

/** Search blocks, a little at a time, for at most a fifth of this thread's time. */
function fileSome(): void {
  nextFiling = undefined
  const began = performance.now()
  try {
    if (filing?.step(committed, filedAtOnce) && !closing)
      nextFiling = setTimeout(fileSome, 4 * (performance.now() - began))
  } catch {
    // A full or busy disk: the next checkpoint tries again, and a search reads what is not filed.
  }
}

/**
 * Under load there is no time left over: then each group is followed by the reading of twice as many entries, so
 * that what a search must read by itself stays within one block, a group that waits to be read and one that came.
 */
function keepFiled(): void {
  try {
    if (filing && filing.behind(committed) > unreadMax) filing.read(committed, 2 * unreadMax)
  } catch {
    // As in `fileSome`: the next group tries again.
  }
}

/** False if the queue is held for the keys of a day; their message runs it again. */
function commitGroup(): boolean {
  if (awaited && !awaited.refused) return false
  const group = queue.slice(0, limits.ledgerGroupMax)
  const nowMs = Math.max(...group.map((queued) => queued.nowMs))
  const began = performance.now()
  let results: Result[] | undefined
  try {
    results = writer.commit(group.map(want), nowMs, hasKeys)
  } catch (error) {
    // Nothing of the group is in the file. The next group is tried for itself, so a full disk heals alone;
    // without keys the whole queue would wait in vain, and is told at once.
    const refused = error instanceof KeysRefused
    const failed = queue.splice(0, refused ? queue.length : group.length)
    post({ kind: 'failed', results: failures(failed), reason: refused ? 'day_keys' : nameSqliteError(error) })
    return true
  }
  if (!results) return false
  queue.splice(0, group.length)
  committed = Math.max(committed, ...results.map(({ index }) => index + 1))
  // Dying before this is posted: the group stands and nobody was told; retries are settled from `consumed`.
  post({ kind: 'done', results: answer(group, results), size: group.length, ms: performance.now() - began })
  return true
}

/** Whether entries of this time can be sealed; asks for the keys of a new day once. */
function hasKeys(timeMs: number): boolean {
  const day = epochOf(timeMs, dayMs)
  if (keys.has(day)) {
    awaited = undefined
    for (const old of keys.keys()) if (old < day) keys.delete(old) // Time never goes back to them.
    return true
  }
  const refused = awaited?.day === day && awaited.refused
  awaited = refused ? undefined : { day, refused: false }
  if (refused) throw new KeysRefused()
  post({ kind: 'needKeys', day })
  return false
}

/** Where each post's appends lie in a group; those of one post lie together. */
function runsOf(group: readonly Queued[]): { id: number; from: number; to: number }[] {
  const runs: { id: number; from: number; to: number }[] = []
  for (const [i, { id }] of group.entries()) {
    const last = runs.at(-1)
    if (last?.id === id) last.to = i + 1
    else runs.push({ id, from: i, to: i + 1 })
  }
  return runs
}

const answer = (group: Queued[], results: Result[]) =>
  runsOf(group).map(({ id, from, to }) => ({ id, committed: results.slice(from, to).map(own) }))

const failures = (group: Queued[]) => runsOf(group).map(({ id, from, to }) => ({ id, count: to - from }))

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
    counted: { carrier: append.carrier, outlet: append.outlet, answer: append.answer },
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
  const who = { carrier, outlet, device, courier, parcel, jti, blind: randomId() }
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
