// What attacks on cards are made of: a good card of a suite, how to make another of it, and DER by hand.
import type { KeyObject } from 'node:crypto'
import { childrenOf, readDer, tags } from '../../src/base/der.ts'
import type { Reading } from '../../src/card/reading.ts'
import type { ChipContext } from '../../src/card/verdict.ts'
import { p256Signing, printSpki, type Signing, sm2Signing } from '../../src/pki/signing.ts'
import { type Card, type DocumentSigner, issueCard, readCard } from '../../src/simulator/cards.ts'
import { planSod, printSod, type SodPlan } from '../../src/simulator/sod.ts'
import { type CardWorld, holder } from './cards.ts'

export type Attack = {
  name: string
  /** Where others were caught by it. */
  after: string
  refusal: number
  read(context: ChipContext): Reading
}

export const der = (tag: number, ...parts: Uint8Array[]): Buffer => {
  const body = Buffer.concat(parts)
  if (body.length < 0x80) return Buffer.concat([Buffer.of(tag, body.length), body])
  const hex = body.length.toString(16)
  const size = Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex')
  return Buffer.concat([Buffer.of(tag, 0x80 | size.length), size, body])
}
export const orders = {
  'P-256': 'ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551',
  SM2: 'fffffffeffffffffffffffffffffffff7203df6b21c6052b53bbf40939d54123',
}
export const integerOf = (value: bigint) => {
  const hex = value.toString(16)
  const bytes = Buffer.from(hex.length % 2 ? `0${hex}` : hex, 'hex')
  return der(tags.integer, bytes.readUInt8(0) >= 0x80 ? Buffer.of(0) : Buffer.alloc(0), bytes)
}
export const pairOf = (r: bigint, s: bigint) => der(tags.sequence, integerOf(r), integerOf(s))
export const numbersOf = (signature: Buffer) =>
  childrenOf(readDer(signature), tags.sequence).map((one) => BigInt(`0x${one.body.toString('hex')}`)) as [
    bigint,
    bigint,
  ]
export const rawOf = (r: bigint, s: bigint) =>
  Buffer.from(r.toString(16).padStart(64, '0') + s.toString(16).padStart(64, '0'), 'hex')

/** ecPublicKey with its curve spelled out, the generator another: whoever compares the key alone takes it. */
export function explicitParameters(key: KeyObject): Buffer {
  const point = printSpki(key).subarray(-65)
  const prime = Buffer.from('00ffffffff00000001000000000000000000000000ffffffffffffffffffffffff', 'hex')
  const field = der(tags.sequence, Buffer.from('06072a8648ce3d0101', 'hex'), der(tags.integer, prime))
  const curve = der(
    tags.sequence,
    der(tags.octetString, Buffer.alloc(32, 1)),
    der(tags.octetString, Buffer.alloc(32, 2)),
  )
  const order = der(tags.integer, Buffer.from(`00${orders['P-256']}`, 'hex'))
  const generator = der(tags.octetString, point)
  const parameters = der(tags.sequence, integerOf(1n), field, curve, generator, order, integerOf(1n))
  return der(tags.sequence, Buffer.from('06072a8648ce3d0201', 'hex'), parameters)
}

export function otherForms(point: Buffer): [about: string, point: Buffer][] {
  const [x, y] = [point.subarray(1, 33), point.subarray(33)]
  const odd = (y.at(-1) ?? 0) & 1
  return [
    ['the point at infinity', Buffer.of(0)],
    ['a point off the curve', Buffer.concat([Buffer.of(4), x, Buffer.alloc(32, 1)])],
    ['zero for x and y', Buffer.concat([Buffer.of(4), Buffer.alloc(64)])],
    ['the hybrid form', Buffer.concat([Buffer.of(6 + odd), x, y])],
    ['the compressed form', Buffer.concat([Buffer.of(2 + odd), x])],
  ]
}

/** What attacks are made of: a good card of a suite, and how to make another of it. */
export function makeKit(world: CardWorld) {
  const { signing, signer, issuer, makeSigner, issuerOf, nowMs } = world
  const signedMs = nowMs - 60_000
  const { suite } = signing
  const other: Signing = signing === sm2Signing ? p256Signing : sm2Signing
  const good = issueCard(holder, signer, { signedMs })
  const n = BigInt(`0x${orders[suite.name]}`)

  /** A card whose SOD is another plan's. */
  const planned = (change: (plan: SodPlan) => Partial<SodPlan>, by: DocumentSigner = signer): Card => {
    const plan = planSod(good, by, signedMs)
    return { ...good, sod: printSod({ ...plan, ...change(plan) }, by) }
  }
  const read = (card: Card) => (context: ChipContext) => readCard(card, context)
  const by = (signer: DocumentSigner) => read(issueCard(holder, signer, { signedMs }))
  const withSod = (sod: Buffer) => read({ ...good, sod })
  const sodWith = (from: Buffer, to: Buffer) => {
    const at = good.sod.indexOf(from)
    return Buffer.concat([good.sod.subarray(0, at), to, good.sod.subarray(at + from.length)])
  }
  const attacks: Attack[] = []
  const add = (name: string, after: string, expected: number, reads: Attack['read']) =>
    attacks.push({ name, after, refusal: expected, read: reads })

  return {
    world,
    signing,
    signer,
    issuer,
    makeSigner,
    issuerOf,
    nowMs,
    signedMs,
    suite,
    other,
    good,
    n,
    planned,
    read,
    by,
    withSod,
    sodWith,
    attacks,
    add,
  }
}
export type Kit = ReturnType<typeof makeKit>
