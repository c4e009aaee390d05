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

/** `left`: lines that were not sent, because they did not go up evenly. */
export type Generated = { sent: number; left: number[]; tookMs: number; cpuMicros: number }

const headersOf = (line: Line): Record<string, string> => ({
  'content-type': line.body.startsWith('token=') ? 'application/x-www-form-urlencoded' : 'application/json',
  ...(line.token === '' ? {} : { authorization: `Bearer ${line.token}` }),
})

/** How many were answered, told twice in ten seconds. */
function createProgress(of: number) {
  let answered = 0
  const timer = setInterval(() => process.send?.({ answered, of }), 5000).unref()
  return { count: () => void answered++, end: () => clearInterval(timer) }
}

type Sent = { replies: Reply[]; left: number[]; tookMs: number }

/** Each connection sends a share of its own, one request after another. */
async function closedLoop(job: GenerateJob, lines: readonly Line[], onAnswer: () => void): Promise<Sent> {
  const shares = sharesOf(lines, Math.min(job.connections, lines.length))
  const replies: Reply[] = []
  let next = 0
  let firstMs = 0
  let lastMs = 0
  const requestOf = (i: number) => {
    const line = lines[i] as Line
    return {
      ...{ method: 'POST' as const, path: line.path, headers: headersOf(line), body: line.body },
      onResponse(status: number, body: string) {
        replies.push({ line: i, status, body, micros: 0 })
        onAnswer()
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
      // Comes right after the `onResponse` of its request, with its time in ms.
      client.on('response', (_status, _bytes, ms) => {
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
async function openLoop(job: GenerateJob, lines: readonly Line[], onAnswer: () => void): Promise<Sent> {
  const order = [...lines.keys()].sort(
    (a, b) => Number(lines[a]?.follows ?? false) - Number(lines[b]?.follows ?? false) || a - b,
  )
  const requests = order.map((i) => {
    const line = lines[i] as Line
    return printPost(job.url, line.path, headersOf(line), line.body)
  })
  const { url, tls, connections, rate = 0 } = job
  const { outcomes, tookMs } = await runOpenLoop({ url, tls, connections, rate, requests, onAnswer })
  return {
    replies: outcomes.map((outcome, i) => ({ line: order[i] as number, ...outcome })),
    left: [],
    tookMs,
  }
}

async function generate(job: GenerateJob): Promise<Generated> {
  const lines = readLines(job.files)
  const before = process.cpuUsage()
  process.send?.({ begun: true })
  const progress = createProgress(lines.length)
  const send = job.rate === undefined ? closedLoop : openLoop
  const { replies, left, tookMs } = await send(job, lines, progress.count)
  progress.end()
  const { user, system } = process.cpuUsage(before)
  process.send?.({ ended: true })
  const out = createWriteStream(job.out)
  for (const reply of replies) out.write(`${JSON.stringify(reply)}\n`)
  await new Promise<void>((resolve) => out.end(resolve))
  return { sent: lines.length - left.length, left, tookMs, cpuMicros: user + system }
}

takeJob(async (job: GenerateJob) => ({ done: await generate(job) }))
