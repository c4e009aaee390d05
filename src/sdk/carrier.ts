// A carrier's back end: asks the gateway over mTLS for what belongs to it, and checks what it is given.
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Dispatcher, Pool } from 'undici'
import { printBase64url } from '../base/bytes.ts'
import { withDeadline } from '../base/http.ts'
import { parseJson } from '../base/json.ts'
import { Refused, type Reply } from './device.ts'
import type { TokenKeys } from './token.ts'

export { Refused } from './device.ts'
export { type Claim, checkReceipt, type ReceiptVerdict, type Statement, type Trust } from './receipt.ts'
export { checkToken, type TokenKeys, type TokenVerdict } from './token.ts'

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

/** One handheld to be registered; binary fields are made by `proveDeviceKey` of the reader. */
export type DeviceToRegister = { serial: string; model: string; outlet: string; spki: Buffer; pop: Buffer }
export type RegisteredDevice = { serial: string; device?: string; refused?: string; detail?: string }
export type ListedDevice = {
  device: string
  outlet: string
  serial: string
  model: string
  status: 'active' | 'suspended' | 'revoked'
  registeredAt: string
  keyEndsAt: string
}
export type CoverageRow = {
  day: string
  outlet: string
  accepted: number | null
  verified: number
  refused: number
  undecided: number
  redeemed: number
  uncovered: number | null
}
export type CarrierChange = { seq: number; at: string; change: string; subject: string }
/** What a call that changes something is kept by; the same key with the same call is answered alike. */
export type Key = { key?: string }

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

  /** The carrier's own standing, its certificate, quota and next review. Throws as `introspect`. */
  standing(): Promise<Record<string, unknown>> {
    return this.#get('/v1/carrier')
  }

  /** The token keys, for `checkToken`. Fetch them again when a kid is unknown. Throws as `introspect`. */
  tokenKeys(): Promise<TokenKeys> {
    return this.#get('/.well-known/jwks.json')
  }

  /** Registers at most 1,000 handhelds; each has a result of its own, in order. Throws as `introspect`. */
  async registerDevices(
    devices: readonly DeviceToRegister[],
    options: Key = {},
  ): Promise<RegisteredDevice[]> {
    const body = devices.map(({ serial, model, outlet, spki, pop }) => ({
      ...{ serial, model, outlet },
      ...{ spki: printBase64url(spki), pop: printBase64url(pop) },
    }))
    const { results } = await this.#change<{ results: RegisteredDevice[] }>(
      'POST',
      '/v1/devices',
      body,
      options,
    )
    return results
  }

  /** Every handheld of the carrier or of one outlet, page by page. Throws as `introspect`. */
  async *listDevices(filter: { outlet?: string } = {}): AsyncGenerator<ListedDevice> {
    for (let after: string | null | undefined; after !== null; ) {
      const query = new URLSearchParams({ ...filter, ...(after === undefined ? {} : { after }) })
      const page = await this.#get<{ devices: ListedDevice[]; next: string | null }>(`/v1/devices?${query}`)
      yield* page.devices
      after = page.next
    }
  }

  /** Gives a handheld a new key; both signatures are over rotate{device, old spki, new spki}. */
  rotateDevice(
    device: string,
    keys: { spki: Buffer; byOld: Buffer; byNew: Buffer },
    options: Key = {},
  ): Promise<{ device: string; keyEndsAt: string }> {
    const body = Object.fromEntries(
      Object.entries(keys).map(([name, bytes]) => [name, printBase64url(bytes)]),
    )
    return this.#change('POST', `/v1/devices/${encodeURIComponent(device)}/rotation`, body, options)
  }

  /** Revokes one handheld, or all of an outlet, for good; resolves to those that were. */
  async revokeDevices(which: { device: string } | { outlet: string }, options: Key = {}): Promise<string[]> {
    const path =
      'device' in which
        ? `/v1/devices/${encodeURIComponent(which.device)}`
        : `/v1/devices?${new URLSearchParams(which)}`
    return (await this.#change<{ revoked: string[] }>('DELETE', path, undefined, options)).revoked
  }

  /**
   * Redeems a token for the parcel that it was made for; again and again with the same result.
   * @throws Refused `token_not_redeemable` for a no, another parcel, or a token not in force
   */
  redeem(token: string, parcel: Buffer, options: Key = {}): Promise<{ jti: string; redeemedAt: string }> {
    return this.#change('POST', '/v1/redemptions', { token, parcel: printBase64url(parcel) }, options)
  }

  /** Tells how many parcels an outlet accepted on a day (YYYY-MM-DD, Asia/Shanghai); the last word stands. */
  async tellAcceptances(day: string, outlet: string, count: number, options: Key = {}): Promise<void> {
    await this.#change('PUT', `/v1/acceptances/${day}/${encodeURIComponent(outlet)}`, { count }, options)
  }

  /** Accepted, verified, refused, undecided and redeemed by day and outlet, all pages; days as YYYY-MM-DD. */
  async coverage(days: { from?: string; to?: string } = {}): Promise<CoverageRow[]> {
    const rows: CoverageRow[] = []
    for (let after: string | null | undefined; after !== null; ) {
      const query = new URLSearchParams({ ...days, ...(after === undefined ? {} : { after }) })
      const page = await this.#get<{ rows: CoverageRow[]; next: string | null }>(`/v1/coverage?${query}`)
      rows.push(...page.rows)
      after = page.next
    }
    return rows
  }

  /** Changes that concern the carrier after a cursor: tokens revoked, devices, certificates, its standing. */
  changes(after = 0): Promise<{ changes: CarrierChange[]; next: number }> {
    return this.#get(`/v1/changes?after=${after}`)
  }

  /** Shows, in a sandbox, that an outcome was handled. */
  showOutcome(
    shown: { outcome: 'yes' | 'no' | 'undecided' | 'audit'; token: string; receipt?: string },
    options: Key = {},
  ): Promise<{ proved: string[]; missing: string[] }> {
    return this.#change('POST', '/v1/conformance', shown, options)
  }

  async #get<T>(path: string): Promise<T> {
    const reply = await this.#send({ method: 'GET', path })
    if (reply.status !== 200) throw refusedBy(reply)
    return parseJson(reply.text)?.value as T
  }

  /** A call that changes something: with one key it is sent once more where the connection broke. */
  async #change<T>(method: 'POST' | 'PUT' | 'DELETE', path: string, body: unknown, { key }: Key): Promise<T> {
    const headers = {
      'idempotency-key': `"${key ?? randomUUID()}"`,
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
    }
    const text = body === undefined ? {} : { body: JSON.stringify(body) }
    const send = () => this.#send({ method, path, headers, ...text })
    const reply = await send().catch(send)
    if (reply.status !== 200) throw refusedBy(reply)
    return parseJson(reply.text)?.value as T
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
