// The courier app: only transports. It moves the reader's bytes to the gateway and back, retries the same
// bytes, and learns yes or no and a token (PROTOCOL sections 2, 4, 5, 7).
import { setTimeout as sleep } from 'node:timers/promises'
import { Pool } from 'undici'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import type { ReadChip, Reader, SessionBody, VerifyBody } from './reader.ts'

export type Reply = { status: number; body: Record<string, unknown>; headers: Record<string, string> }
export type Answer = { answer: 'yes' | 'no'; token: string }

/** The gateway said that it could not decide; `code` and `retry` are from docs/API.md. */
export class Refused extends Error {
  readonly reply: Reply
  constructor(reply: Reply) {
    super(`The gateway answered ${reply.status} ${String(reply.body['code'])}.`)
    this.reply = reply
  }
  get code(): string {
    return String(this.reply.body['code'])
  }
}

const sameBytesTriesMax = 3

export class Device {
  readonly #pool: Pool
  readonly #reader: Reader
  readonly #now: () => number
  #token: string | undefined
  #base: Buffer | undefined
  #count = 0
  #next = 0

  /**
   * @param options.url origin of the gateway's device listener
   * @param options.ca PEM of the gateway CA, pinned
   */
  constructor(options: {
    url: string
    ca: string | Buffer
    reader: Reader
    now: () => number
    connections?: number
  }) {
    this.#pool = new Pool(options.url, {
      connections: options.connections ?? 1,
      connect: { ca: options.ca, timeout: 3000 },
      bodyTimeout: 10_000,
      headersTimeout: 10_000,
    })
    this.#reader = options.reader
    this.#now = options.now
  }

  /** Fetches the directory, logs the reader in for a shift and keeps the first batch of challenges. */
  async logIn(): Promise<void> {
    this.#reader.acceptDirectory(await this.#fetchDirectory(), this.#now())
    const device = printBase64url(this.#reader.device)
    const base = await this.#must('/v1/challenges', { purpose: 'session', device })
    const body = this.#reader.openSession(bytesOf(base, 'challenge'), this.#now())
    await this.logInWith(body)
  }

  /** Sends a session request that the reader made. */
  async logInWith(body: SessionBody): Promise<void> {
    const session = await this.#must('/v1/sessions', body)
    this.#token = String(session['token'])
    this.#reader.confirmSession(String(session['carrier']))
    this.#keep(session)
  }

  get token(): string | undefined {
    return this.#token
  }

  /** Makes the next request without sending it. */
  async prepare(parcel: Buffer, readChip: ReadChip): Promise<{ body: VerifyBody; digest: Buffer }> {
    if (!this.#base || this.#next >= this.#count) {
      this.#keep(await this.#must('/v1/challenges', { purpose: 'reading', count: 64 }))
    }
    const base = this.#base as Buffer
    const index = this.#next++
    return this.#reader.verify({ base, index, parcel, readChip })
  }

  /** Another request for the challenge of an earlier one: what a replay would send. */
  async again(body: VerifyBody, parcel: Buffer, readChip: ReadChip): Promise<{ body: VerifyBody }> {
    const challenge = bytesOf(body, 'challenge')
    return this.#reader.verify({ base: challenge, index: challenge.readUInt8(41), parcel, readChip })
  }

  /** Sends a request; the same bytes again where the gateway allows it. Throws Refused otherwise. */
  async send(body: VerifyBody): Promise<Answer> {
    return (await this.#must('/v1/verify', body)) as unknown as Answer
  }

  /** One verification: read, seal, send. */
  async verify(parcel: Buffer, readChip: ReadChip): Promise<Answer> {
    return this.send((await this.prepare(parcel, readChip)).body)
  }

  /** One POST, no retry: what came back, whatever it was. */
  post(path: string, body: unknown): Promise<Reply> {
    return this.postText(path, JSON.stringify(body))
  }

  /** One POST of a text as it is; `headers` go over the device's own. */
  async postText(path: string, body: string, headers: Record<string, string> = {}): Promise<Reply> {
    const own = {
      'content-type': 'application/json',
      ...(this.#token ? { authorization: `Bearer ${this.#token}` } : {}),
    }
    const response = await this.#pool.request({ path, method: 'POST', headers: { ...own, ...headers }, body })
    const parsed = (await response.body.json()) as Record<string, unknown>
    return { status: response.statusCode, body: parsed, headers: response.headers as Record<string, string> }
  }

  async close(): Promise<void> {
    await this.#pool.close()
  }

  #keep(batch: Record<string, unknown>): void {
    this.#base = bytesOf(batch, 'challenge')
    this.#count = Number(batch['count'])
    this.#next = 0
  }

  async #fetchDirectory(): Promise<string> {
    let text = ''
    await this.#retry(async () => {
      const { statusCode, headers, body } = await this.#pool.request({ path: '/v1/directory', method: 'GET' })
      text = await body.text()
      const refused = statusCode === 200 ? {} : (JSON.parse(text) as Record<string, unknown>)
      return { status: statusCode, body: refused, headers: headers as Record<string, string> }
    })
    return text
  }

  async #must(path: string, body: unknown): Promise<Record<string, unknown>> {
    return (await this.#retry(() => this.post(path, body))).body
  }

  /** Asks again, with the same bytes, where the gateway says that this may help. Throws Refused. */
  async #retry(ask: () => Promise<Reply>): Promise<Reply> {
    for (let tries = 1; ; tries++) {
      const reply = await ask()
      if (reply.status === 200) return reply
      const mayHelp = reply.body['retry'] === 'same' || reply.body['code'] === 'overloaded'
      if (!mayHelp || tries >= sameBytesTriesMax) throw new Refused(reply)
      await sleep(Number(reply.headers['retry-after'] ?? 1) * 250 * tries)
    }
  }
}

function bytesOf(reply: Record<string, unknown>, field: string): Buffer {
  const bytes = parseBase64url(String(reply[field]))
  if (!bytes) throw new Error(`The gateway's reply has no ${field} in base64url.`)
  return bytes
}
