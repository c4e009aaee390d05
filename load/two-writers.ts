// Two processes that append to one ledger: each a SQLite writer, against one writer that gets the other's appends by
// messages. Asked by bench-ledger.ts; run by itself, it is one of the two.
import { type ChildProcess, fork } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Ledger, VerifyEntry } from '../src/ledger/ledger.ts'
import { appendAll, fixed, makeEntries, openAt } from './ledger-entries.ts'

type Rate = { rate: number; worstMs: number }

/** Entries a second of both together, and the longest wait of one append; files are made in `folder`. */
export async function measureWriters(folder: string): Promise<{ own: Rate; sent: Rate }> {
  const count = 30_000
  const own = await twoChildren('own', join(folder, 'many.db'), count)
  return { own, sent: await twoChildren('sent', join(folder, 'one.db'), count) }
}

type ChildReport = { kind: 'ready' } | { kind: 'done'; worstMs: number }

async function twoChildren(mode: 'own' | 'sent', file: string, count: number): Promise<Rate> {
  const ledger = await openAt(file)
  const children = [0, 1].map(() =>
    fork(fileURLToPath(import.meta.url), [mode, file, String(count)], {
      serialization: 'advanced',
    }),
  )
  if (mode === 'sent') for (const child of children) serveAppends(ledger, child)
  await Promise.all(children.map((child) => reported(child, 'ready')))
  const began = performance.now()
  for (const child of children) child.send({ kind: 'go' })
  const done = await Promise.all(children.map((child) => reported(child, 'done')))
  const rate = (2 * count) / ((performance.now() - began) / 1000)
  for (const child of children) child.disconnect()
  await ledger.close()
  return { rate, worstMs: Math.max(...done.map((news) => (news.kind === 'done' ? news.worstMs : 0))) }
}

const reported = (child: ChildProcess, kind: ChildReport['kind']) =>
  new Promise<ChildReport>((resolve) => {
    const take = (news: ChildReport) => {
      if (news.kind !== kind) return
      child.off('message', take)
      resolve(news)
    }
    child.on('message', take)
  })

/** The writer's side: appends what a child sends, a message a turn, and answers with the indices. */
function serveAppends(ledger: Ledger, child: ChildProcess): void {
  child.on('message', async (message: { kind: string; id: number; entries: VerifyEntry[] }) => {
    if (message.kind !== 'append') return
    const own = (bytes: Uint8Array) => Buffer.from(bytes)
    const appended = await Promise.all(
      message.entries.map((entry) =>
        ledger.append({
          ...fixed,
          ...entry,
          challenge: own(entry.challenge),
          digest: own(entry.digest),
          subject: undefined,
        }),
      ),
    )
    child.send({ kind: 'appended', id: message.id, indices: appended.map(({ index }) => index) })
  })
}

/** A child: its own writer, or one that sends each turn's appends to the parent. */
async function runChild(mode: string, file: string, count: number): Promise<void> {
  const own = mode === 'own' ? await openAt(file, false) : undefined
  const ledger = own ?? sendingLedger()
  const close = () => own?.close()
  const entries = makeEntries(count)
  let worstMs = 0
  const timed = {
    async append(entry: VerifyEntry) {
      const began = performance.now()
      const appended = await ledger.append(entry)
      worstMs = Math.max(worstMs, performance.now() - began)
      return appended
    },
  }
  process.on('message', async (message: { kind: string }) => {
    if (message.kind !== 'go') return
    await appendAll(timed as Pick<Ledger, 'append'>, entries, 256)
    process.send?.({ kind: 'done', worstMs })
    await close()
  })
  process.send?.({ kind: 'ready' })
}

function sendingLedger() {
  let turn: { entry: VerifyEntry; resolve(value: unknown): void }[] = []
  const waiting = new Map<number, typeof turn>()
  let id = 0
  process.on('message', (message: { kind: string; id: number; indices: number[] }) => {
    if (message.kind !== 'appended') return
    for (const [i, { resolve }] of (waiting.get(message.id) ?? []).entries())
      resolve({ index: message.indices[i] })
    waiting.delete(message.id)
  })
  const flush = () => {
    const entries = turn.map(({ entry: { challenge, digest, expiresMs } }) => ({
      challenge,
      digest,
      expiresMs,
    }))
    waiting.set(++id, turn)
    process.send?.({ kind: 'append', id, entries })
    turn = []
  }
  return {
    append: (entry: VerifyEntry) =>
      new Promise<unknown>((resolve) => {
        if (turn.length === 0) setImmediate(flush)
        turn.push({ entry, resolve })
      }),
  }
}

const [, self, mode = '', file = '', count = ''] = process.argv
if (self === fileURLToPath(import.meta.url)) await runChild(mode, file, Number(count))
