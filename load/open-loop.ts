// An open-loop generator: requests leave when their arrival is due (Poisson), whether or not earlier ones were
// answered, and each is timed from when it was meant to leave. A gateway that stands still for a moment shows in every
// request that should have been sent meanwhile, which a closed loop hides (coordinated omission).
import { randomInt } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type ConnectionOptions, connect, type TLSSocket } from 'node:tls'

export type Outcome = { status: number; micros: number; body: string }

export type OpenLoop = {
  url: string
  tls: ConnectionOptions
  connections: number
  /** Requests a second, on average. */
  rate: number
  /** Each is sent once, in order. */
  requests: readonly Buffer[]
  /** Whatever has no answer so long after the last was due is given up, ms. */
  timeoutMs?: number
  onAnswer?: () => void
  /** All connections stand, and the first request is about to leave. */
  onSettled?: () => void
}

/** A number above 0 and up to 1. */
const draw = () => (randomInt(2 ** 47) + 1) / 2 ** 47

/** When each of `count` requests is due, ms from the start: a Poisson process of `rate` a second. */
export function arrivals(count: number, rate: number): Float64Array {
  const due = new Float64Array(count)
  let at = 0
  for (let i = 0; i < count; i++) {
    at += (-Math.log(draw()) * 1000) / rate
    due[i] = at
  }
  return due
}

/** The bytes of one POST, to be sent as they are. */
export function printPost(url: string, path: string, headers: Record<string, string>, body: string): Buffer {
  const lines = Object.entries({ host: new URL(url).host, ...headers }).map(
    ([name, value]) => `${name}: ${value}\r\n`,
  )
  return Buffer.from(
    `POST ${path} HTTP/1.1\r\n${lines.join('')}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
  )
}

type Idle = { send(bytes: Buffer, done: (status: number, body: string) => void): void }

/** The server has its half of the last handshakes before it, and belated work of all: no request pays for those. */
const settleMs = 500

const headEnd = Buffer.from('\r\n\r\n')

/** One connection, one request at a time; it connects again when it was cut. */
function openLine(url: string, tls: ConnectionOptions, idle: (line: Idle) => void) {
  const { hostname, port } = new URL(url)
  let socket: TLSSocket
  let got: Buffer = Buffer.alloc(0)
  let done: ((status: number, body: string) => void) | undefined
  let closed = false
  const line: Idle = {
    send(bytes, then) {
      done = then
      socket.write(bytes)
    },
  }

  function finish(status: number, body: string): void {
    const then = done
    done = undefined
    then?.(status, body)
    if (then) idle(line)
  }

  function take(chunk: Buffer): void {
    got = got.length === 0 ? chunk : Buffer.concat([got, chunk])
    const end = got.indexOf(headEnd)
    if (end < 0) return
    const head = got.toString('latin1', 0, end)
    const length = Number(/content-length: (\d+)/i.exec(head)?.[1] ?? 0)
    if (got.length < end + 4 + length) return
    const body = got.toString('utf8', end + 4, end + 4 + length)
    got = Buffer.alloc(0)
    finish(Number(head.slice(9, 12)), body)
  }

  function open(first: () => void): void {
    socket = connect({ ...tls, host: hostname, port: Number(port), servername: hostname })
    socket.setNoDelay(true)
    socket.once('secureConnect', first)
    socket.on('data', take)
    socket.on('error', () => {})
    socket.once('close', () => {
      got = Buffer.alloc(0)
      if (closed) return
      const waiting = done
      done = undefined
      waiting?.(0, '')
      open(() => waiting && idle(line))
    })
  }

  return {
    ready: new Promise<void>((resolve) => open(resolve)),
    line,
    close() {
      closed = true
      socket.destroy()
    },
  }
}

/** Sends all requests at their time; `took` is from the first arrival to the last answer, ms. */
export async function runOpenLoop(options: OpenLoop): Promise<{ outcomes: Outcome[]; tookMs: number }> {
  const { url, tls, connections, rate, requests, timeoutMs = 10_000 } = options
  const { onAnswer = () => {}, onSettled = () => {} } = options
  const idle: Idle[] = []
  let queue: number[] = []
  let head = 0
  const due = arrivals(requests.length, rate)
  const outcomes: Outcome[] = new Array(requests.length)
  const lines = Array.from({ length: connections }, () => openLine(url, tls, (line) => release(line)))
  await Promise.all(lines.map(({ ready }) => ready))
  await sleep(settleMs)
  for (const { line } of lines) idle.push(line)
  let left = requests.length
  let finished = () => {}
  const all = new Promise<void>((resolve) => {
    finished = resolve
  })
  onSettled()
  const began = performance.now()

  function release(line: Idle): void {
    if (head < queue.length) give(line, queue[head++] as number)
    else idle.push(line)
    if (head > 10_000) {
      queue = queue.slice(head)
      head = 0
    }
  }

  function give(line: Idle, i: number): void {
    line.send(requests[i] as Buffer, (status, body) => settle(i, status, body))
  }

  function settle(i: number, status: number, body: string): void {
    if (outcomes[i]) return
    outcomes[i] = { status, body, micros: (performance.now() - began - (due[i] as number)) * 1000 }
    if (status !== 0) onAnswer()
    if (--left === 0) finished()
  }

  let next = 0
  const timer = setInterval(() => {
    const now = performance.now() - began
    for (; next < requests.length && (due[next] as number) <= now; next++) {
      const line = idle.pop()
      if (line) give(line, next)
      else queue.push(next)
    }
    if (next < requests.length || now < (due.at(-1) ?? 0) + timeoutMs) return
    for (let i = 0; i < requests.length; i++) settle(i, 0, '')
  }, 1)
  if (requests.length > 0) await all
  clearInterval(timer)
  for (const line of lines) line.close()
  return { outcomes, tookMs: performance.now() - began }
}
