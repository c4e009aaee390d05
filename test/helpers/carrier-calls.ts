// Calls to the carrier listener over TLS, and what a test reads of a gateway's log about certificates.
import { spawn } from 'node:child_process'
import { type RequestOptions, request } from 'node:https'
import { connect, type TLSSocket } from 'node:tls'
import type { Test } from 'tap'

export type Reply = { status: number; body: Record<string, unknown> } | 'closed'
export type Asking = RequestOptions & { session?: Buffer }

/** GET /v1/carrier; `closed` if the connection ended without an answer. */
export function ask(port: number, options: Asking): Promise<Reply> {
  return new Promise((resolve) => {
    const given = { host: 'localhost', port, path: '/v1/carrier', agent: false as const, ...options }
    const sent = request(given, (response) => {
      const chunks: Buffer[] = []
      response.on('data', (chunk) => chunks.push(chunk))
      response.on('error', () => resolve('closed'))
      response.on('end', () => {
        const body = JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown>
        resolve({ status: response.statusCode ?? 0, body })
      })
    })
    sent.on('error', () => resolve('closed'))
    sent.end()
  })
}

/** A refusal: closed, or 403 with the one code; anything else fails the test. */
export function isRefused(t: Test, reply: Reply, what: string): void {
  if (reply === 'closed') return void t.pass(`${what}: closed`)
  const { status, body } = reply
  t.same([status, body['code'], body['retry']], [403, 'carrier_suspended', 'never'], what)
  t.same(Object.keys(body).sort(), ['code', 'requestId', 'retry', 'status', 'title', 'type'])
}

/** A session of one request, to be resumed; undefined if none was given. */
export function sessionOf(port: number, tls: object): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const socket = connect({ host: 'localhost', port, servername: 'localhost', ...tls })
    let session: Buffer | undefined
    socket.on('session', (given) => {
      session = given
    })
    socket.on('error', () => {}) // A refusal: the close says so.
    socket.on('close', () => resolve(session))
    socket.on('secureConnect', () => {
      socket.write('GET /v1/carrier HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n')
    })
    socket.resume()
  })
}

/** An open connection that asks nothing yet. */
export function openSocket(port: number, tls: object): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: 'localhost', port, servername: 'localhost', ...tls }, () =>
      resolve(socket),
    )
    socket.on('error', reject)
    socket.resume()
  })
}

export type RefusedLine = { level: number; cause: string; serial?: string; count: number; says: string }

/** The log lines about certificates that were refused, and about handshakes that failed without one. */
export const refusedLines = (lines: readonly string[]) =>
  lines
    .filter((line) => /"msg":"(client certificate refused|handshake failed)"/.test(line))
    .map((line) => JSON.parse(line) as RefusedLine)

/** How many were refused, by cause, as the log counts them. */
export function tally(lines: readonly string[]): Record<string, number> {
  const sums: Record<string, number> = {}
  for (const { cause, count } of refusedLines(lines)) sums[cause] = (sums[cause] ?? 0) + count
  return sums
}

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Waits until `holds`, at most `ms`; what then is not so fails the test. */
export async function until(t: Test, holds: () => boolean | Promise<boolean>, what: string, ms = 3000) {
  const begun = performance.now()
  while (!(await holds()) && performance.now() - begun < ms) await sleep(10)
  t.ok(await holds(), `${what}, within ${ms} ms`)
  return performance.now() - begun
}

export type Shaken = { resumed: boolean; status: number | undefined; reason: string; text: string }

/** GET /v1/carrier by `openssl s_client`, with what else it is to do. */
export function shake(
  port: number,
  args: readonly string[],
  { input = carrierRequest, msMax = 5000 } = {},
): Promise<Shaken> {
  return new Promise((resolve) => {
    const connect = ['-connect', `localhost:${port}`, '-servername', 'localhost', '-ign_eof']
    const child = spawn('openssl', ['s_client', ...connect, ...args], { stdio: 'pipe' })
    let [out, said] = ['', '']
    child.stdout.on('data', (chunk) => {
      out += chunk
    })
    child.stderr.on('data', (chunk) => {
      said += chunk
    })
    child.stdin.on('error', () => {}) // The other side may be gone: the output says so.
    child.stdin.write(input)
    const late = setTimeout(() => child.kill(), msMax)
    child.on('close', () => {
      clearTimeout(late)
      const text = `${out}\n${said}`
      const status = /HTTP\/1\.1 (\d{3}) /.exec(text)?.[1]
      const reason = /alert ([a-z ]+):/.exec(text)?.[1] ?? ''
      resolve({ resumed: /^Reused, /m.test(text), status: status ? Number(status) : undefined, reason, text })
    })
  })
}
const carrierRequest = 'GET /v1/carrier HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n'
