// A carrier's back end: asks the gateway over mTLS for what belongs to it, and checks what it is given.
import { setTimeout as sleep } from 'node:timers/promises'
import { type Dispatcher, Pool } from 'undici'
import { withDeadline } from '../base/http.ts'
import { parseJson } from '../base/json.ts'
import { Refused, type Reply } from './device.ts'

export { Refused } from './device.ts'
export { type Claim, checkReceipt, type ReceiptVerdict, type Statement, type Trust } from './receipt.ts'

const deadlineMs = 5000
const answerBytesMax = 512 * 1024
const pending = 425
const waitMsDefault = 15_000
const againMsMin = 250

type Text = Omit<Reply, 'body'> & { text: string }

/** RFC 7662 section 2.2; times in s, binary claims in base64url. */
export type Introspected =
  | { active: false }
  | ({ active: true; iss: string; aud: string; jti: string; iat: number; exp: number } & {
      answer: 'yes' | 'no'
      parcel: string
      device: string
      level: string
      leaf: string
      index: number
    })

export class Carrier {
  readonly #pool: Pool

  /**
   * @param options.url - origin of the gateway's carrier listener
   * @param options.ca - PEM of the gateway CA, pinned
   * @param options.cert - PEM of the carrier's certificate
   * @param options.key - PEM of its private key
   */
  constructor({
    url,
    ca,
    cert,
    key,
  }: Record<'url', string> & Record<'ca' | 'cert' | 'key', string | Buffer>) {
    const connect = { ca, cert, key, timeout: deadlineMs }
    this.#pool = new Pool(url, { connections: 4, connect, maxResponseSize: answerBytesMax })
  }

  /**
   * The receipt of one of the carrier's tokens, not checked: that is `checkReceipt`'s.
   * @param jti - the claim of the token, base64url
   * @param options.waitMs - how long to wait for the checkpoint that proves it, by default 15 s
   * @throws Refused with `receipt_pending` after that, else with what the gateway said; Error if it said nothing
   */
  async fetchReceipt(jti: string, { waitMs = waitMsDefault }: { waitMs?: number } = {}): Promise<string> {
    const path = `/v1/receipts/${encodeURIComponent(jti)}`
    const until = performance.now() + waitMs
    for (;;) {
      const { status, headers, text } = await this.#send({ method: 'GET', path })
      if (status === 200) return text
      const againMs = Math.max(againMsMin, 1000 * Number(headers['retry-after'] ?? 1))
      if (status !== pending || !(performance.now() + againMs <= until)) {
        throw refusedBy({ status, headers, text })
      }
      await sleep(againMs)
    }
  }

  /**
   * What the gateway says of a token: its claims if it is in force and this carrier's own, else `{active: false}`.
   * @throws Refused with what the gateway said; Error if it said nothing
   */
  async introspect(token: string): Promise<Introspected> {
    const body = new URLSearchParams({ token }).toString()
    const headers = { 'content-type': 'application/x-www-form-urlencoded' }
    const reply = await this.#send({ method: 'POST', path: '/v1/introspect', headers, body })
    if (reply.status !== 200) throw refusedBy(reply)
    return parseJson(reply.text)?.value as Introspected
  }

  async close(): Promise<void> {
    await this.#pool.destroy()
  }

  #send(request: Pick<Dispatcher.RequestOptions, 'method' | 'path' | 'headers' | 'body'>): Promise<Text> {
    return withDeadline(deadlineMs, async (signal) => {
      const response = await this.#pool.request({ ...request, signal })
      const text = await response.body.text()
      return { status: response.statusCode, headers: response.headers as Record<string, string>, text }
    })
  }
}

function refusedBy({ status, headers, text }: Text): Refused {
  return new Refused({ status, body: (parseJson(text)?.value ?? {}) as Reply['body'], headers })
}
