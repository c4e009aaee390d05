// A revocation list in a file, read again when it changes; the last good one stands until it is stale.
import { readPem } from './base/pem.ts'
import { followFiles } from './followed-files.ts'
import type { Anchors } from './pki/anchors.ts'
import { parseCrl, type Revocations } from './pki/revocation.ts'

export type RevocationList = {
  current(): Revocations
  /** The list in use, not the file as it is by now. */
  pem(): string
  /** Told of each newer list once it is in use. Returns the function that ends it. */
  onChange(listener: () => void): () => void
  close(): void
}

/** @throws Error if there is no good list to begin with */
export function followRevocations(options: {
  file: string
  anchors: Anchors
  log: { error(fields: unknown, message?: string): void }
}): RevocationList {
  const { file, anchors, log } = options
  const listeners = new Set<() => void>()
  let der = readPem(file)
  let current = parseCrl(der, anchors)

  function reread(): void {
    try {
      const found = readPem(file)
      if (found.equals(der)) return
      const next = parseCrl(found, anchors)
      if (next.thisUpdateMs < current.thisUpdateMs) {
        log.error('revocation list older than the one in use')
        return
      }
      der = found
      current = next
    } catch (err) {
      log.error({ err }, 'revocation list not read')
      return
    }
    for (const listener of listeners) {
      try {
        listener()
      } catch (err) {
        log.error({ err }, 'revocation list not followed') // The others are told all the same.
      }
    }
  }

  return {
    current: () => current,
    pem: () => printList(der),
    onChange(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    close: followFiles([file], reread),
  }
}

/** PEM (RFC 7468 section 2: lines of 64 characters). */
function printList(der: Buffer): string {
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return ['-----BEGIN X509 CRL-----', ...lines, '-----END X509 CRL-----', ''].join('\n')
}
