// The document signers of the development PKI, from its folder: one that may sign cards, one that is revoked.
import { createPrivateKey } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type DocumentSigner, loadSigner } from './cards.ts'

export const cardSuites = ['P-256', 'SM2'] as const
export type CardSuite = (typeof cardSuites)[number]

const suffixes: Record<CardSuite, string> = { 'P-256': '', SM2: '-sm2' }

/** @throws Error if a file is absent, or a certificate and its key do not belong together */
export function loadSigners(
  certsDir: string,
  suite: CardSuite,
): { signer: DocumentSigner; revokedSigner: DocumentSigner } {
  const load = (number: number) => {
    const file = (suffix: string) =>
      readFileSync(join(certsDir, `card-signer-${number}${suffixes[suite]}${suffix}`))
    return loadSigner(file('.crt'), createPrivateKey(file('.key')))
  }
  return { signer: load(1), revokedSigner: load(2) }
}
