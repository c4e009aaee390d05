// The reader: the protected part of a handheld. It holds the device key and the session key, talks to the
// card and seals what it read. It knows no network; the courier app carries its bytes (PROTOCOL 3, 5, 6, 7).
import { createPublicKey, type KeyObject } from 'node:crypto'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { importP256Spki, printP256Spki, signP256 } from '../base/p256.ts'
import { bind } from '../base/t2l.ts'
import { challengeOf } from '../channel/challenge.ts'
import { type DirectoryContent, openDirectory } from '../channel/directory.ts'
import { encapsulateSession, recipientIdOf } from '../channel/hpke.ts'
import { requestDigest, sealReading } from '../channel/sealing.ts'
import { deriveSid, signedSession } from '../channel/session.ts'

/** What a chip is asked to sign for. */
export type ChipRequest = { challenge: Buffer; device: Buffer; parcel: Buffer; carrier: string }

/** Reads a card for a request; 2048 bytes, as `reading` of PROTOCOL section 6. */
export type ReadChip = (request: ChipRequest) => Buffer

export type SessionBody = {
  v: 1
  device: string
  recipient: string
  enc: string
  challenge: string
  firmware: number
  courier: string
  signature: string
}

export type VerifyBody = { v: 1; challenge: string; parcel: string; sealed: string }

/** Proof that the holder of the device key wants it registered: r||s over enrol{carrier, serial, spki}. */
export function proveDeviceKey(
  key: KeyObject,
  carrier: string,
  serial: string,
): { spki: Buffer; pop: Buffer } {
  const spki = printP256Spki(key)
  return { spki, pop: signP256(key, bind('enrol', carrier, serial, spki)) }
}

export class Reader {
  readonly device: Buffer
  readonly #deviceKey: KeyObject
  readonly #directoryKey: KeyObject
  readonly #firmware: number
  readonly #courier: Buffer
  #directory: DirectoryContent | undefined
  #session: { sid: Buffer; key: KeyObject; carrier: string | undefined } | undefined

  /**
   * @param options.device 16 bytes, given at registration
   * @param options.directoryKey Ed25519 public key, pinned at manufacture
   * @param options.courier 16 bytes chosen by the carrier; zeros if absent
   */
  constructor(options: {
    device: Buffer
    deviceKey: KeyObject
    directoryKey: KeyObject
    firmware: number
    courier?: Buffer
  }) {
    this.device = options.device
    this.#deviceKey = options.deviceKey
    this.#directoryKey = options.directoryKey
    this.#firmware = options.firmware
    this.#courier = options.courier ?? Buffer.alloc(16)
  }

  /** Takes a directory served by the gateway. Throws if it is not signed by the pinned key or is older. */
  acceptDirectory(jws: string, nowMs: number): void {
    const key =
      this.#directoryKey.type === 'private' ? createPublicKey(this.#directoryKey) : this.#directoryKey
    const nowS = Math.floor(nowMs / 1000)
    const content = openDirectory(jws, { key, nowS, lastSeq: this.#directory?.seq ?? 0 })
    if (!content)
      throw new Error('The directory was refused: wrong signature, expired, or older than the last.')
    this.#directory = content
  }

  /** The body of `POST /v1/sessions` for a session challenge; a new session key is made. */
  openSession(challenge: Buffer, nowMs: number): SessionBody {
    const { spki, id } = this.#recipient(nowMs)
    const key = importP256Spki(spki)
    if (!key) throw new Error('The directory holds a recipient key that is not P-256.')
    const { enc, key: sessionKey } = encapsulateSession(key, id)
    const request = {
      device: this.device,
      recipient: id,
      enc,
      challenge,
      firmware: this.#firmware,
      courier: this.#courier,
    }
    this.#session = { sid: deriveSid(challenge, this.device, enc), key: sessionKey, carrier: undefined }
    return {
      v: 1,
      device: printBase64url(this.device),
      recipient: printBase64url(id),
      enc: printBase64url(enc),
      challenge: printBase64url(challenge),
      firmware: this.#firmware,
      courier: printBase64url(this.#courier),
      signature: printBase64url(signP256(this.#deviceKey, signedSession(request))),
    }
  }

  /** Tells the reader which carrier the gateway named for this session. */
  confirmSession(carrier: string): void {
    if (!this.#session) throw new Error('No session was opened.')
    this.#session.carrier = carrier
  }

  /**
   * Reads the card and seals the reading.
   * @returns the body of `POST /v1/verify`, and the digest that names the request
   */
  verify(options: { base: Buffer; index: number; parcel: Buffer; readChip: ReadChip }): {
    body: VerifyBody
    digest: Buffer
  } {
    const session = this.#session
    if (!session?.carrier) throw new Error('No session is confirmed: log in first.')
    const challenge = challengeOf(options.base, options.index)
    const { parcel } = options
    const carrier = session.carrier
    const plain = options.readChip({ challenge, device: this.device, parcel, carrier })
    const context = { device: this.device, sid: session.sid, challenge, parcel, carrier }
    const sealed = sealReading(session.key, plain, context)
    return {
      body: {
        v: 1,
        challenge: printBase64url(challenge),
        parcel: printBase64url(parcel),
        sealed: printBase64url(sealed),
      },
      digest: requestDigest(context, sealed),
    }
  }

  /** The oldest key that has not ended: a directory signed days ago may still list one that has. */
  #recipient(nowMs: number): { spki: Buffer; id: Buffer } {
    if (!this.#directory) throw new Error('No directory was accepted: fetch GET /v1/directory first.')
    const inUse = this.#directory.recipients.filter((listed) => listed.notAfter * 1000 > nowMs)
    const [oldest] = inUse.sort((a, b) => a.notAfter - b.notAfter)
    const spki = oldest && parseBase64url(oldest.spki)
    if (!spki) throw new Error('The directory lists no recipient key that is still in use: fetch it anew.')
    return { spki, id: recipientIdOf(spki) }
  }
}
