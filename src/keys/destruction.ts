// Destroys keys past their life, so that no backup of the keyring can open what they sealed: the survivors are
// wrapped under a new KEK and the old one is erased (PROTOCOL section 3). Whoever dies in between is resumed: what
// was reached is kept in the keyring's database, and each step may be done again.
import { randomBytes } from 'node:crypto'
import { chmodSync } from 'node:fs'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { printBase64url } from '../base/bytes.ts'
import { type Clock, dayMs } from '../base/clock.ts'
import type { Seen } from './holders.ts'
import { assertKekFolder, eraseRetiredKeks, listKeks, loadKeks, makeKek, retireKeks } from './kek.ts'
import type { KindName } from './kinds.ts'
import { assertOpens, assertWrapped, findLate, fold, rewrap } from './rewrap.ts'
import { openKeyringFile, readKeys } from './store.ts'
import { countTargets, findDue, isTarget, type Targets } from './targets.ts'

/**
 * `planned` nothing but this row · `recorded` its act is written · `entered` the act's entry is durable ·
 * `wrapped` the targets are gone and the survivors under the new KEK · `done` the old KEK is erased
 */
export type State = 'planned' | 'recorded' | 'entered' | 'wrapped' | 'done'

export type Destruction = {
  id: string
  state: State
  kekVersion: number
  targets: Targets
  /** Of its act. */
  seq: number | undefined
  begunAtMs: number
  doneAtMs: number | undefined
}

export type DestructionAct = { keys: Targets; kek: number; retentionDays: number }

/** Where the act goes and what its entry comes from: registry and ledger, which this file does not know. */
export type Acts = {
  /** Seq of the act of destruction `id`; undefined if it was not written. */
  find(id: string): Promise<number | undefined>
  write(id: string, act: DestructionAct): Promise<number>
  /** True once the entry is durable; false if that takes too long. */
  isEntered(seq: number): Promise<boolean>
}

export type Step =
  | 'planned'
  | 'written'
  | 'recorded'
  | 'entered'
  | 'kek made'
  | 'kek held'
  | 'wrapped'
  | 'folded'
  | 'retired'
  | 'erased'
  | 'done'

export type DestroyOptions = {
  /** The keyring's. */
  file: string
  kekDirectory: string
  clock: Clock
  retentionDays: number
  /** How long gateways get to load the new KEK. */
  waitMs: number
  acts: Acts
  say(line: string): void
  /** Told after each step; what it throws ends the run there, as a death of the process would. */
  onStep?: (step: Step) => void
}

export type Outcome =
  | { end: 'nothing due' }
  | { end: 'done'; destruction: Destruction; moreDue: number }
  | { end: 'entry pending'; seq: number }
  | { end: 'gateways pending'; missing: Seen[]; kekVersion: number }

/** Why a destruction cannot go on, as a sentence with the way out. */
export class DestructionError extends Error {}

const lookMs = 250
const sayEveryMs = 5000
const sqliteBusy = 5

type Run = DestroyOptions & { db: DatabaseSync; step(name: Step): void }

/**
 * Runs one destruction, or what is left of one that was begun.
 * @throws DestructionError if another one runs, or the log of the keyring cannot be cut off
 * @throws Error if the folder of KEKs cannot be written, or a key that stays does not open
 */
export async function destroyKeys(options: DestroyOptions): Promise<Outcome> {
  const lock = lockOf(options.file)
  try {
    assertKekFolder(options.kekDirectory)
    const db = openKeyringFile(options.file)
    try {
      return await runSteps({ ...options, db, step: options.onStep ?? (() => {}) })
    } finally {
      db.close()
    }
  } finally {
    lock.close()
  }
}

/**
 * At most one at a time. The lock is SQLite's, on a file beside the keyring: it ends with its process however that
 * ends, and no pause outlasts it as it could a lease; the keyring's own, held so long, would stop the gateways.
 */
function lockOf(file: string): DatabaseSync {
  const name = `${file}.lock`
  const lock = new DatabaseSync(name, { timeout: 0 })
  try {
    chmodSync(name, 0o600)
    lock.exec('begin exclusive')
    return lock
  } catch (error) {
    lock.close()
    if ((error as { errcode?: number }).errcode !== sqliteBusy) throw error
    throw new DestructionError('Another "keys destroy" is running; wait for its end.')
  }
}

async function runSteps(run: Run): Promise<Outcome> {
  const begun = (await findBegun(run)) ?? plan(run)
  if (!begun) return { end: 'nothing due' }
  const recorded = begun.state === 'planned' ? await record(run, begun) : begun
  const { seq, kekVersion } = recorded
  let { state } = recorded
  if (state === 'recorded') {
    // Dying here: the act stands and becomes an entry; no key was touched. The next run waits for the entry.
    if (seq === undefined || !(await run.acts.isEntered(seq))) return { end: 'entry pending', seq: seq ?? 0 }
    state = reachEntered(run, recorded)
  }
  if (state === 'entered') {
    const missing = await replaceKek(run, recorded)
    if (missing.length > 0) return { end: 'gateways pending', missing, kekVersion }
    state = 'wrapped'
  }
  if (state === 'wrapped') await eraseOld(run, recorded)
  const destruction = { ...recorded, state: 'done' as const, doneAtMs: run.clock.now() }
  return { end: 'done', destruction, moreDue: countTargets(due(run)) }
}

const due = ({ db, clock, retentionDays }: Run) =>
  findDue(db, { nowMs: clock.now(), retentionMs: retentionDays * dayMs })

/** The one that was begun. A plan whose act was never written bound nobody, and is made anew from what is due now. */
async function findBegun(run: Run): Promise<Destruction | undefined> {
  const begun = unfinished(run.db)
  if (begun?.state !== 'planned') return begun
  const seq = await run.acts.find(begun.id)
  if (seq !== undefined) return keepSeq(run, begun, seq)
  run.db.prepare('delete from destruction where id = ?').run(begun.id)
  return undefined
}

function plan(run: Run): Destruction | undefined {
  const { db, clock, kekDirectory } = run
  const targets = due(run)
  if (countTargets(targets) === 0) return undefined
  assertOpens(db, loadKeks(kekDirectory), targets)
  const versions = [...listKeks(kekDirectory), ...readKeys(db).map((row) => row.kek_version)]
  const planned = {
    ...{ id: printBase64url(randomBytes(16)), state: 'planned' as const, targets },
    ...{ kekVersion: Math.max(...versions) + 1, begunAtMs: clock.now() },
  }
  db.prepare(
    'insert into destruction (id, state, kek_version, targets, begun_at) values (?, ?, ?, ?, ?)',
  ).run(planned.id, planned.state, planned.kekVersion, JSON.stringify(targets), planned.begunAtMs)
  // Dying here: a plan that nobody was told of. The next run finds no act of it and plans anew.
  run.step('planned')
  return { ...planned, seq: undefined, doneAtMs: undefined }
}

async function record(run: Run, planned: Destruction): Promise<Destruction> {
  const { id, targets, kekVersion } = planned
  const { retentionDays } = run
  const seq = await run.acts.write(id, { keys: targets, kek: kekVersion, retentionDays })
  // Dying here: the act stands, this row does not know it. The next run finds it by its id and writes none.
  run.step('written')
  return keepSeq(run, planned, seq)
}

function keepSeq(run: Run, planned: Destruction, seq: number): Destruction {
  run.db.prepare("update destruction set state = 'recorded', seq = ? where id = ?").run(seq, planned.id)
  // Dying here: the act is known, whether its entry is durable is asked by the next run.
  run.step('recorded')
  return { ...planned, state: 'recorded', seq }
}

function reachEntered(run: Run, { id }: Destruction): State {
  run.db.prepare("update destruction set state = 'entered' where id = ?").run(id)
  // Dying here: the ledger says what will be destroyed; no key was touched yet.
  run.step('entered')
  return 'entered'
}

/** Makes the new KEK and puts all keys that stay under it. Returns the gateways that do not hold it yet. */
async function replaceKek(run: Run, { id, kekVersion, targets }: Destruction): Promise<Seen[]> {
  const { db, clock, kekDirectory } = run
  makeKek(kekDirectory, kekVersion)
  // Dying here: two versions lie side by side, every key is under the old one, and gateways load both.
  run.step('kek made')
  const missing = await awaitHolders(run, kekVersion)
  if (missing.length > 0) return missing
  // Dying here changes nothing: the next run asks the gateways again.
  run.step('kek held')
  const wrapped = () => db.prepare("update destruction set state = 'wrapped' where id = ?").run(id)
  const given = { version: kekVersion, targets, nowMs: clock.now(), also: wrapped }
  // Dying in here, before its commit, leaves all as it was; after it, all is under the new KEK and the targets gone.
  const late = rewrap(db, { ...given, keks: loadKeks(kekDirectory) })
  if (late.length > 0) return late
  run.step('wrapped')
  return []
}

async function awaitHolders(run: Run, version: number): Promise<Seen[]> {
  const { db, clock, waitMs } = run
  for (let waitedMs = 0; ; waitedMs += lookMs) {
    const missing = findLate(db, version, clock.now())
    if (missing.length === 0 || waitedMs >= waitMs) return missing
    if (waitedMs % sayEveryMs === 0) {
      const names = missing.map(({ node }) => node).join(', ')
      run.say(`Waiting until every gateway has loaded KEK version ${version}: ${names}`)
    }
    await sleep(lookMs)
  }
}

/** From the commit on the targets are gone from the file; they are gone from its backups when this is through. */
async function eraseOld(run: Run, { id, kekVersion }: Destruction): Promise<void> {
  const { db, clock, kekDirectory } = run
  if (!(await fold(db))) {
    throw new DestructionError(
      'The keyring is being read all the time, so its log cannot be cut; run this again.',
    )
  }
  // Dying here: old KEK and old backups still open each other. The next run goes on from here.
  run.step('folded')
  assertWrapped(db, loadKeks(kekDirectory), kekVersion)
  retireKeks(kekDirectory, kekVersion)
  // Dying here: the old KEK is under a name that only the next run looks at, and which it erases.
  run.step('retired')
  eraseRetiredKeks(kekDirectory)
  // Dying here: all is done but the row does not say so; the next run finds nothing left to erase.
  run.step('erased')
  db.prepare("update destruction set state = 'done', done_at = ? where id = ?").run(clock.now(), id)
  run.step('done')
}

/** All that were ever begun, oldest first. */
export function listDestructions(db: DatabaseSync): Destruction[] {
  const rows = db.prepare('select * from destruction order by begun_at, kek_version').all()
  const numberOrNone = (value: unknown) => (value === null ? undefined : Number(value))
  return rows.map((row) => ({
    id: String(row['id']),
    state: String(row['state']) as State,
    kekVersion: Number(row['kek_version']),
    targets: JSON.parse(String(row['targets'])) as Targets,
    seq: numberOrNone(row['seq']),
    begunAtMs: Number(row['begun_at']),
    doneAtMs: numberOrNone(row['done_at']),
  }))
}

/** The one that was begun and is not done: there is at most one. */
export const unfinished = (db: DatabaseSync) => listDestructions(db).find(({ state }) => state !== 'done')

/** The destruction that deleted a key; undefined if none did. */
export const destructionOf = (db: DatabaseSync, of: { kind: KindName; epoch: number }) =>
  listDestructions(db).find(
    ({ state, targets }) => (state === 'wrapped' || state === 'done') && isTarget(targets, of.kind, of.epoch),
  )
