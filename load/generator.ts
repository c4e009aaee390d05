// The process that sends: closed loop by autocannon for capacity, open loop of our own for latency. Its parent tells
// it what; the replies go into a file, line by line, to be judged afterwards.
import { createWriteStream } from 'node:fs'
import autocannon from 'autocannon'
import { takeJob } from './child.ts'
import { readLines, sharesOf } from './lines.ts'
import { printPost, runOpenLoop } from './open-loop.ts'
import type { Line, Reply } from './scenarios.ts'

export type GenerateJob = {
  url: string
  /** PEM */
  tls: { ca: string; cert?: string; key?: string }
  files: string[]
  connections: number
  /** Requests a second of an open loop; undefined: a closed loop. */
  rate: number | undefined
  /** Where the replies go. */
  out: string
}

/**
 * `left`: lines that were not sent, because they did not go up evenly. `counted`: answers from where the handshakes are
 * over, and how long they took: `cpuMicros`, of this process, is for those, as is what `settled` is told for.
 */
export type Generated = {
  sent: number
  left: number[]
  tookMs: number
  counted: { answers: number; ms: number }
  cpuMicros: number
}

const headersOf = (line: Line): Record<string, string> => ({
  'content-type': line.body.startsWith('token=') ? 'application/x-www-form-urlencoded' : 'application/json',
  ...(line.token === '' ? {} : { authorization: `Bearer ${line.token}` }),
})

/** Tells how many were answered, twice in ten seconds, and counts what came after the handshakes. */
function createCount(of: number) {
  let answered = 0
  let lastAt = 0
  let settled: { answered: number; at: number; cpu: NodeJS.CpuUsage } | undefined
  const began = process.cpuUsage()
  const timer = setInterval(() => process.send?.({ answered, of }), 5000).unref()
  return {
    onAnswer() {
      answered++
      lastAt = performance.now()
    },
    onSettled() {
      settled = { answered, at: performance.now(), cpu: process.cpuUsage() }
      process.send?.({ settled: true })
    },
    end(tookMs: number): Pick<Generated, 'counted' | 'cpuMicros'> {
      clearInterval(timer)
      const { user, system } = process.cpuUsage(settled?.cpu ?? began)
      const { answered: before, at } = settled ?? { answered: 0, at: lastAt - tookMs }
      return { counted: { answers: answered - before, ms: lastAt - at }, cpuMicros: user + system }
    },
  }
}

type Sent = { replies: Reply[]; left: number[]; tookMs: number }
/** `onSettled`: the handshakes are over. */
type Told = { onAnswer: () => void; onSettled: () => void }

/** Where connections send fewer requests each, all are counted: the first would be no small part of them. */
const countedFrom = 4
/** So many answers for each connection, and whoever still waits for the first has its handshake long behind it. */
const settledAfter = 8

/** To be told of each answer and whether it is the first of its connection; tells once that the handshakes are over. */
function createSettling(connections: number, onSettled: () => void) {
  let without = connections
  let answered = 0
  let isSettled = false
  return (isFirst: boolean) => {
    answered++
    if (isFirst) without--
    if (isSettled || (without > 0 && answered < settledAfter * connections)) return
    isSettled = true
    onSettled()
  }
}

/** Each connection sends a share of its own, one request after another. */
async function closedLoop(job: GenerateJob, lines: readonly Line[], told: Told): Promise<Sent> {
  const shares = sharesOf(lines, Math.min(job.connections, lines.length))
  const replies: Reply[] = []
  let next = 0
  let firstMs = 0
  let lastMs = 0
  const areFew = lines.length < countedFrom * shares.length
  const settle = areFew ? () => {} : createSettling(shares.length, told.onSettled)
  const requestOf = (i: number) => {
    const line = lines[i] as Line
    return {
      ...{ method: 'POST' as const, path: line.path, headers: headersOf(line), body: line.body },
      onResponse(status: number, body: string) {
        replies.push({ line: i, status, body, micros: 0 })
        told.onAnswer()
      },
    }
  }
  await autocannon({
    url: job.url,
    connections: shares.length,
    amount: shares.flat().length,
    timeout: 20,
    tlsOptions: job.tls,
    setupClient(client) {
      client.setRequests((shares[next++] ?? []).map(requestOf))
      let isFirst = true
      // Comes right after the `onResponse` of its request, with its time in ms.
      client.on('response', (_status, _bytes, ms) => {
        settle(isFirst)
        isFirst = false
        const reply = replies.at(-1)
        if (reply) reply.micros = Math.round(ms * 1000)
        lastMs = performance.now()
        firstMs ||= lastMs - ms
      })
    },
  })
  const given = new Set(shares.flat())
  return { replies, left: [...lines.keys()].filter((i) => !given.has(i)), tookMs: lastMs - firstMs }
}

/** What follows another goes last: in an open loop it could overtake it. */
async function openLoop(job: GenerateJob, lines: readonly Line[], told: Told): Promise<Sent> {
  const order = [...lines.keys()].sort(
    (a, b) => Number(lines[a]?.follows ?? false) - Number(lines[b]?.follows ?? false) || a - b,
  )
  const requests = order.map((i) => {
    const line = lines[i] as Line
    return printPost(job.url, line.path, headersOf(line), line.body)
  })
  const { url, tls, connections, rate = 0 } = job
  const { outcomes, tookMs } = await runOpenLoop({ url, tls, connections, rate, requests, ...told })
  return {
    replies: outcomes.map((outcome, i) => ({ line: order[i] as number, ...outcome })),
    left: [],
    tookMs,
  }
}

async function generate(job: GenerateJob): Promise<Generated> {
  const lines = readLines(job.files)
  process.send?.({ begun: true })
  const count = createCount(lines.length)
  const send = job.rate === undefined ? closedLoop : openLoop
  const { replies, left, tookMs } = await send(job, lines, count)
  const counted = count.end(tookMs)
  process.send?.({ ended: true })
  const out = createWriteStream(job.out)
  for (const reply of replies) out.write(`${JSON.stringify(reply)}\n`)
  await new Promise<void>((resolve) => out.end(resolve))
  return { sent: lines.length - left.length, left, tookMs, ...counted }
}

takeJob(async (job: GenerateJob) => ({ done: await generate(job) }))
