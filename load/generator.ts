// The process that sends: closed loop by autocannon for capacity, open loop of our own for latency. Its parent tells
// it what; the replies go into a file, line by line, to be judged afterwards.
import { createWriteStream, readFileSync } from 'node:fs'
import autocannon from 'autocannon'
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

/** Lines of the files, dealt in turn, so that the work of each sealer is spread over the run. */
export function readLines(files: readonly string[]): Line[] {
  const piles = files.map((file) => {
    const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
    return group(lines.map((line) => JSON.parse(line) as Line))
  })
  const dealt: Line[] = []
  const most = Math.max(0, ...piles.map((pile) => pile.length))
  for (let i = 0; i < most; i++) for (const pile of piles) dealt.push(...(pile[i] ?? []))
  return dealt
}

/** A request and what follows it stay together. */
function group(lines: readonly Line[]): Line[][] {
  const groups: Line[][] = []
  for (const line of lines) {
    const last = groups.at(-1)
    if (line.follows && last) last.push(line)
    else groups.push([line])
  }
  return groups
}

const headersOf = (line: Line): Record<string, string> => ({
  'content-type': line.path === '/v1/introspect' ? 'application/x-www-form-urlencoded' : 'application/json',
  ...(line.token === '' ? {} : { authorization: `Bearer ${line.token}` }),
})

type Sent = { replies: Reply[]; left: number[]; tookMs: number }

/**
 * Equal shares of the lines for connections, as indices: what follows another is in the same share. What does not go
 * up evenly is left out.
 */
export function sharesOf(lines: readonly Line[], connections: number): number[][] {
  const size = Math.floor(lines.length / connections)
  let at = 0
  const groups = group(lines).map((each) => each.map(() => at++))
  const shares: number[][] = []
  for (let n = 0; n < connections; n++) {
    const share: number[] = []
    while (share.length < size) {
      const fits = groups.findIndex((each) => share.length + each.length <= size)
      if (fits < 0) return shares
      share.push(...(groups.splice(fits, 1)[0] as number[]))
    }
    shares.push(share)
  }
  return shares
}

/** Each connection sends a share of its own, one request after another. */
async function closedLoop(job: GenerateJob, lines: readonly Line[]): Promise<Sent> {
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
async function openLoop(job: GenerateJob, lines: readonly Line[], rate: number): Promise<Sent> {
  const order = [...lines.keys()].sort(
    (a, b) => Number(lines[a]?.follows ?? false) - Number(lines[b]?.follows ?? false) || a - b,
  )
  const requests = order.map((i) => {
    const line = lines[i] as Line
    return printPost(job.url, line.path, headersOf(line), line.body)
  })
  const { url, tls, connections } = job
  const { outcomes, tookMs } = await runOpenLoop({ url, tls, connections, rate, requests })
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
  const { replies, left, tookMs } =
    job.rate === undefined ? await closedLoop(job, lines) : await openLoop(job, lines, job.rate)
  const { user, system } = process.cpuUsage(before)
  process.send?.({ ended: true })
  const out = createWriteStream(job.out)
  for (const reply of replies) out.write(`${JSON.stringify(reply)}\n`)
  await new Promise<void>((resolve) => out.end(resolve))
  return { sent: lines.length - left.length, left, tookMs, cpuMicros: user + system }
}

process.on('message', async (job: GenerateJob) => {
  try {
    process.send?.({ done: await generate(job) })
  } catch (error) {
    process.send?.({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) })
  }
  process.disconnect?.()
})
