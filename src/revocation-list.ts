// A revocation list in a file, read again when it changes; the last good one stands until it is stale.
import { unwatchFile, watchFile } from 'node:fs'
import { limits } from './base/limits.ts'
import { readPem } from './base/pem.ts'
import type { Anchors } from './pki/anchors.ts'
import { parseCrl, type Revocations } from './pki/revocation.ts'

export type RevocationList = { current(): Revocations; close(): void }

/**
 * @param options.onChange told of each newer list that was taken
 * @throws Error if there is no good list to begin with
 */
export function followRevocations(options: {
  file: string
  anchors: Anchors
  log: { error(fields: unknown, message?: string): void }
  onChange?: () => void
}): RevocationList {
  const { file, anchors, log, onChange } = options
  let current = parseCrl(readPem(file), anchors)
  const reread = () => {
    try {
      const next = parseCrl(readPem(file), anchors)
      if (next.thisUpdateMs < current.thisUpdateMs) {
        log.error('revocation list older than the one in use')
        return
      }
      current = next
      onChange?.()
    } catch (err) {
      log.error({ err }, 'revocation list not read')
    }
  }
  watchFile(file, { interval: limits.crlLookMs, persistent: false }, reread)
  return { current: () => current, close: () => unwatchFile(file, reread) }
}

/** Whether a serial, hex as node prints that of a certificate, is on the list. */
export function hasSerial(list: Revocations, hex: string): boolean {
  const bytes = Buffer.from(hex.length % 2 === 0 ? hex : `0${hex}`, 'hex')
  // An INTEGER begins with a zero byte where its first bit would be a sign (X.690 section 8.3).
  return list.has((bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.of(0), bytes]) : bytes)
}
