// The card issuers that are trusted and their revocation lists, from files that are followed: another object after each
// change, so that whoever remembers what it proved forgets it (PROTOCOL section 6).
import { join } from 'node:path'
import { readPem } from './base/pem.ts'
import { type CardAnchor, type CardTrust, loadAnchors } from './pki/anchors.ts'
import { p256, type Suite, sm2 } from './pki/suites.ts'
import { followRevocations, type RevocationList } from './revocation-list.ts'

const issuers: readonly { name: string; suite: Suite }[] = [
  { name: 'card-issuer', suite: p256 },
  { name: 'card-issuer-sm2', suite: sm2 },
]

/** @throws Error if an anchor or its list is not good to begin with */
export function followCardTrust(options: {
  certsDir: string
  log: { error(fields: unknown, message?: string): void }
}): { current(): CardTrust; isFresh(nowMs: number): boolean; close(): void } {
  const { certsDir, log } = options
  const lists = new Map<CardAnchor, RevocationList>()
  for (const { name, suite } of issuers) {
    const anchors = loadAnchors([readPem(join(certsDir, `${name}.crt`))], suite)
    const list = followRevocations({ file: join(certsDir, `${name}.crl`), anchors, log })
    list.onChange(() => {
      current = print()
    })
    for (const anchor of anchors) lists.set({ ...anchor, state: 'CHN', authorities: [] }, list)
  }
  const print = (): CardTrust => ({
    anchors: [...lists.keys()],
    notAfterMs: Number.POSITIVE_INFINITY,
    listOf: (anchor) => lists.get(anchor)?.current(),
  })
  let current = print()
  return {
    current: () => current,
    isFresh: (nowMs) => [...lists.values()].every((list) => list.current().isFresh(nowMs)),
    close() {
      for (const list of lists.values()) list.close()
    },
  }
}
