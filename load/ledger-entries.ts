// Entries as a gateway appends them, and ledgers of their own for what measures them.
import { generateKeyPairSync, randomBytes } from 'node:crypto'
import { systemClock } from '../src/base/clock.ts'
import { type Ledger, openLedger, type VerifyEntry } from '../src/ledger/ledger.ts'
import { printVkey } from '../src/ledger/note.ts'

const key = generateKeyPairSync('ed25519').privateKey
const secret = Buffer.alloc(32, 7)
export const signer = { name: 'bench.test', key }

/** What `vouchsafe ledger fsck` checks these ledgers with. */
export const vkey = printVkey(signer.name, key)

/** A ledger as a gateway has it; one that does not sign makes no tree. */
export const openAt = (file: string, signs = true): Promise<Ledger> =>
  openLedger({
    file,
    clock: systemClock,
    dayKeys: async () => ({ record: secret, tag: secret }),
    ...(signs ? { signer } : {}),
  })

export const fixed = {
  type: 'verify' as const,
  answer: 1 as const,
  carrier: 'swift-crane',
  outlet: 'harbour',
  device: randomBytes(16),
  courier: Buffer.alloc(16),
  parcel: randomBytes(32),
  sealedHash: randomBytes(32),
  refusal: 0,
  transaction: randomBytes(16),
}

/** A person a parcel, nearly: the same one in every entry would file all of them under one key. */
const subjectOf = (i: number, serial: Buffer) => ({
  docType: 'ID',
  state: 'CHN',
  number: `780001${String(i).padStart(12, '0')}`,
  serial,
})

const ttlS = 600

/** Entries with challenges as a gateway makes them (PROTOCOL section 4): the second of their issue comes first. */
export function makeEntries(count: number): VerifyEntry[] {
  const now = systemClock.now()
  const random = randomBytes(count * 64)
  const from = randomBytes(4).readUInt32BE()
  return Array.from({ length: count }, (_, i) => {
    const challenge = Buffer.allocUnsafe(42)
    challenge.writeUInt8(1, 0)
    challenge.writeUInt8(Math.floor(now / 3_600_000) % 256, 1)
    challenge.writeUInt32BE(Math.floor(now / 1000), 2)
    challenge.writeUInt16BE(ttlS, 6)
    random.copy(challenge, 8, i * 64, i * 64 + 34)
    challenge.writeUInt8(64, 24)
    challenge.writeUInt8(i % 64, 41)
    const digest = random.subarray(i * 64 + 32, i * 64 + 64)
    const subject = subjectOf(from + i, digest.subarray(0, 16))
    return { ...fixed, challenge, digest, subject, expiresMs: (Math.floor(now / 1000) + ttlS) * 1000 }
  })
}

/** Appends them, `atOnce` at a time. */
export async function appendAll(
  ledger: Pick<Ledger, 'append'>,
  entries: readonly VerifyEntry[],
  atOnce: number,
) {
  let next = 0
  const lane = async () => {
    while (next < entries.length) await ledger.append(entries[next++] as VerifyEntry)
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
}

export async function perSecond(count: number, work: () => Promise<void>): Promise<number> {
  const began = performance.now()
  await work()
  return count / ((performance.now() - began) / 1000)
}
