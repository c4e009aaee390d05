// The directory that this gateway serves: signed here in development, by the operator elsewhere
// (`vouchsafe directory sign`) and then read from a file (PROTOCOL section 3). Owns one timer.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { printBase64url } from '../src/base/bytes.ts'
import { type Clock, dayMs } from '../src/base/clock.ts'
import { printP256Spki } from '../src/base/p256.ts'
import { type DirectoryContent, openDirectory, signDirectory } from '../src/channel/directory.ts'
import { recipientIdOf } from '../src/channel/hpke.ts'
import type { Keyring } from '../src/keys/keyring.ts'
import { kindOf } from '../src/keys/kinds.ts'
import type { TokenHolders } from './token-holders.ts'

type Parts = {
  keyring: Keyring
  tokens: Pick<TokenHolders, 'tokenKeys'>
  ledgerVkey: string
  minFirmware: number
  clock: Clock
}

const lifeMs = 7 * dayMs
const degradedMs = 2 * dayMs
const refreshMs = 10_000

/** What a directory made now would say. `seq` is the time of signing in s: it grows without being stored. */
export function describeDirectory(parts: Parts): DirectoryContent {
  const { keyring, tokens, clock } = parts
  const iat = Math.floor(clock.now() / 1000)
  const { lengthMs } = kindOf('recipient')
  const now = keyring.epochNow('recipient')
  const recipients = keyring
    .all('recipient')
    .filter(({ epoch }) => epoch >= now)
    .map(({ epoch, key }) => {
      const spki = printP256Spki(key)
      const notAfter = ((epoch + 1) * lengthMs) / 1000
      return {
        id: printBase64url(recipientIdOf(spki)),
        suite: 1 as const,
        spki: printBase64url(spki),
        notAfter,
      }
    })
  const tokenKeys = tokens.tokenKeys().map(({ kid, spki }) => ({ kid, spki: printBase64url(spki) }))
  const { ledgerVkey: ledger, minFirmware } = parts
  return { seq: iat, iat, exp: iat + lifeMs / 1000, recipients, tokenKeys, ledger, minFirmware }
}

/** The private key of a recipient id: current, next, or previous for 24 h longer. */
export function findRecipient(keyring: Keyring, id: Buffer, nowMs: number): KeyObject | undefined {
  const { lengthMs } = kindOf('recipient')
  const found = keyring.all('recipient').find(({ key }) => recipientIdOf(printP256Spki(key)).equals(id))
  return found && nowMs <= (found.epoch + 1) * lengthMs + dayMs ? found.key : undefined
}

/** The directory key, which signs here (development), or the file of a signed one and the key that signed it. */
export type DirectorySource = { signWith: KeyObject } | { file: string; signedBy: KeyObject }

/**
 * Serves the newest directory that is right: one that cannot be read, or was not signed by the directory key, is
 * told to `onFault` and the last good one stands.
 * @throws Error if there is none to begin with
 */
export function createDirectory(
  options: Parts & { source: DirectorySource; onFault: (cause: unknown) => void },
) {
  const { source, clock, keyring, onFault } = options
  let current: { jws: string; expMs: number; madeAtMs: number } | undefined

  function read(): void {
    const madeAtMs = clock.now()
    const key = 'file' in source ? source.signedBy : createPublicKey(source.signWith)
    const jws =
      'file' in source
        ? readFileSync(source.file, 'utf8').trim()
        : signDirectory(describeDirectory(options), source.signWith)
    const content = openDirectory(jws, { key, nowS: Math.floor(madeAtMs / 1000), lastSeq: 0 })
    if (!content) throw new Error('The directory is expired, or was not signed by the directory key.')
    current = { jws, expMs: content.exp * 1000, madeAtMs }
  }

  function refresh(): void {
    try {
      read()
    } catch (cause) {
      onFault(cause) // What is served stays; readiness falls 48 h before it ends.
    }
  }

  read()
  const stop = 'file' in source ? () => {} : keyring.onChange(refresh)
  const timer = setInterval(() => {
    if ('file' in source || clock.now() - (current?.madeAtMs ?? 0) >= dayMs) refresh()
  }, refreshMs).unref()
  return {
    current: () => current?.jws ?? '',
    /** False from 48 h before the directory expires. */
    isFresh: () => clock.now() < (current?.expMs ?? 0) - degradedMs,
    close() {
      clearInterval(timer)
      stop()
    },
  }
}

export type Directory = ReturnType<typeof createDirectory>
