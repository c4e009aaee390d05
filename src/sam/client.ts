// Asks a SAM service for a record over mTLS (docs/SAM.md). It knows neither cards nor deadlines: those are the caller's.
import { Compile } from 'typebox/compile'
import { Pool } from 'undici'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { parseJson } from '../base/json.ts'
import { limits } from '../base/limits.ts'
import {
  attestationBytes,
  RecordReply,
  type RecordRequest,
  type SamAdapter,
  type SamRecord,
  serialBytes,
} from './protocol.ts'

/** PEM of the service's CA, the only one trusted, and of our own certificate and key. */
type SamTls = { ca: string | Buffer; cert: string | Buffer; key: string | Buffer }

const connectMsMax = 500
const keepAliveMs = 60_000
const checkedReply = Compile(RecordReply)

/** The service answered, and not as documented: to ask again would not help. */
class BadReply extends Error {}

export class SamClient implements SamAdapter {
  readonly #pool: Pool

  /** @throws TypeError if the url is none; nothing is connected before the first record */
  constructor({ url, tls }: { url: string; tls: SamTls }) {
    this.#pool = new Pool(url, {
      ...{ connections: limits.samConnectionsMax, maxResponseSize: limits.samReplyBytesMax },
      ...{ pipelining: 1, allowH2: false, keepAliveTimeout: keepAliveMs },
      connect: { ...tls, timeout: connectMsMax, rejectUnauthorized: true },
    })
  }

  /** Asks once more where the connection failed, as a kept one does that the service has ended. */
  async fetchRecord(
    transaction: Buffer,
    binding: Buffer,
    signal: AbortSignal,
  ): Promise<SamRecord | undefined> {
    const asked = { transaction: printBase64url(transaction), binding: printBase64url(binding) }
    try {
      return await this.#ask(asked, signal)
    } catch (error) {
      if (error instanceof BadReply || signal.aborted) throw error
      return this.#ask(asked, signal)
    }
  }

  /** Ends every connection; what is under way rejects. */
  close(): Promise<void> {
    return this.#pool.destroy()
  }

  async #ask(asked: RecordRequest, signal: AbortSignal): Promise<SamRecord | undefined> {
    const response = await this.#pool.request({
      path: '/v1/records',
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(asked),
      signal,
    })
    const text = await response.body.text()
    if (response.statusCode !== 200) throw new BadReply(`status ${response.statusCode}`)
    const value = parseJson(text)?.value
    if (!checkedReply.Check(value)) throw new BadReply('reply malformed')
    const reply = value as RecordReply
    return reply.found ? decodeRecord(reply) : undefined
  }
}

function decodeRecord(reply: Extract<RecordReply, { found: true }>): SamRecord {
  const record = parseBase64url(reply.record, limits.recordBytes)
  const serial = parseBase64url(reply.serial, serialBytes)
  const attestation = parseBase64url(reply.attestation, attestationBytes)
  if (!record || !serial || !attestation) throw new BadReply('reply not canonical')
  return { record, serial, attestation, readAtMs: reply.readAt }
}
