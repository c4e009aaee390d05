// The directory that this gateway serves: signed here in development, by the operator elsewhere
// (`vouchsafe directory sign`) and then read from a file (PROTOCOL section 3). Owns one timer.
import type { KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { printBase64url } from '../src/base/bytes.ts'
import { type Clock, dayMs } from '../src/base/clock.ts'
import { printP256Spki } from '../src/base/p256.ts'
import { type DirectoryContent, signDirectory } from '../src/channel/directory.ts'
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
const rereadMs = 60_000

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

/** @param options.source the directory key (development), or the file of a signed directory */
export function createDirectory(options: Parts & { source: KeyObject | string }) {
  const { source, clock, keyring } = options
  let current = ''
  let madeAt = Number.NEGATIVE_INFINITY

  function refresh(): void {
    current =
      typeof source === 'string'
        ? readFileSync(source, 'utf8').trim()
        : signDirectory(describeDirectory(options), source)
    madeAt = clock.now()
  }

  const due = () => clock.now() - madeAt >= (typeof source === 'string' ? rereadMs : dayMs)
  const endMs = () => {
    const body = JSON.parse(Buffer.from(current.split('.')[1] ?? '', 'base64url').toString())
    return (body as DirectoryContent).exp * 1000
  }

  refresh()
  const stop = typeof source === 'string' ? () => {} : keyring.onChange(refresh)
  return {
    current(): string {
      if (due()) refresh()
      return current
    },
    /** False from 48 h before the directory expires. */
    isFresh: () => clock.now() < endMs() - degradedMs,
    close: stop,
  }
}

export type Directory = ReturnType<typeof createDirectory>
