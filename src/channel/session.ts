// What a device signs to log in, and what follows from it (PROTOCOL section 5).
import { createSecretKey, type KeyObject } from 'node:crypto'
import { sha256, u32, u64 } from '../base/bytes.ts'
import { open, seal } from '../base/seal.ts'
import { bind } from '../base/t2l.ts'

/** Ids and keys decoded; `courier` is 16 zeros if there is none. */
export type SessionRequest = {
  device: Buffer
  recipient: Buffer
  enc: Buffer
  challenge: Buffer
  firmware: number
  courier: Buffer
}

/** What the device key signs. */
export const signedSession = (r: SessionRequest) =>
  bind('session', r.challenge, r.device, r.recipient, r.enc, u32(r.firmware), r.courier)

export const deriveSid = (challenge: Buffer, device: Buffer, enc: Buffer) =>
  sha256(bind('sid', challenge, device, enc)).subarray(0, 16)

/** Names a session request, signature included: the same bytes again are a retry, others are not. */
export const sessionDigest = (r: SessionRequest, signature: Buffer) =>
  sha256(
    bind('session-request', r.challenge, r.device, r.recipient, r.enc, u32(r.firmware), r.courier, signature),
  )

/** `expS`: the token's own `exp`, a JWT time. */
type WrapContext = { sid: Buffer; device: Buffer; carrier: string; expS: number }

const wrapAad = (c: WrapContext) => bind('session-key', c.sid, c.device, c.carrier, u64(c.expS))

/** Seals the session key into the device token, so that any node can open any reading. */
export const wrapSessionKey = (wrap: KeyObject, key: KeyObject, context: WrapContext) =>
  seal(wrap, key.export(), wrapAad(context))

/** 32 bytes, or undefined if the wrapped key does not belong to this context. */
export const unwrapSessionKey = (wrap: KeyObject, wrapped: Buffer, context: WrapContext) =>
  open(wrap, wrapped, wrapAad(context))

type WrappedSession = WrapContext & { wrappedKey: Buffer }

/**
 * Opens the keys of sessions, each once for as long as both the wrapping key and that very session are held by whoever
 * gives them: a wrapping key that is destroyed takes with it what it opened.
 * @returns the key; undefined if it was not wrapped for this session
 */
export function createSessionKeys() {
  const opened = new WeakMap<KeyObject, WeakMap<WrappedSession, KeyObject>>()
  return (wrap: KeyObject, session: WrappedSession): KeyObject | undefined => {
    const known = opened.get(wrap)
    const standing = known?.get(session)
    if (standing) return standing
    const raw = unwrapSessionKey(wrap, session.wrappedKey, session)
    if (!raw) return undefined
    const key = createSecretKey(raw)
    if (known) known.set(session, key)
    else opened.set(wrap, new WeakMap([[session, key]]))
    return key
  }
}
