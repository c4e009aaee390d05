// The signing half of the suites: what issues cards and their certificates, for development and tests. No gateway
// signs so; what checks is suites.ts.
import { createPublicKey, generateKeyPairSync, type KeyObject, sign } from 'node:crypto'
import { childrenOf, integerBytes, readDer, tags } from '../base/der.ts'
import { signP256 } from '../base/p256.ts'
import { generateSm2Key, signSm2 } from '../base/sm2.ts'
import { p256, type Suite, sm2 } from './suites.ts'

export type Signing = {
  suite: Suite
  /** Dotted. */
  curve: string
  digest: string
  signature: string
  makeKey(): KeyObject
  signDer(key: KeyObject, message: Uint8Array): Buffer
  /** 64 bytes r||s. */
  signRaw(key: KeyObject, message: Uint8Array): Buffer
}

export const p256Signing: Signing = {
  suite: p256,
  curve: '1.2.840.10045.3.1.7',
  digest: '2.16.840.1.101.3.4.2.1',
  signature: '1.2.840.10045.4.3.2',
  makeKey: () => generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey,
  signDer: (key, message) => sign('sha256', message, key),
  signRaw: signP256,
}

export const sm2Signing: Signing = {
  suite: sm2,
  curve: '1.2.156.10197.1.301',
  digest: '1.2.156.10197.1.401',
  signature: '1.2.156.10197.1.501',
  makeKey: generateSm2Key,
  signDer: signSm2,
  signRaw: (key, message) => rawOfDer(signSm2(key, message)),
}

/** r||s of a signature in DER, each of 32 bytes. */
function rawOfDer(signature: Buffer): Buffer {
  const parts = childrenOf(readDer(signature), tags.sequence).map(integerBytes)
  return Buffer.concat(parts.map((part) => Buffer.concat([Buffer.alloc(32), part]).subarray(-32)))
}

/** 91 bytes, for a key of either suite. */
export function printSpki(key: KeyObject): Buffer {
  const half = key.type === 'private' ? createPublicKey(key) : key
  return half.export({ format: 'der', type: 'spki' })
}

/** The half that signs with a key, by its curve. */
export function signingOf(key: KeyObject): Signing {
  const spki = printSpki(key)
  const found = [p256Signing, sm2Signing].find(({ suite }) => suite.importKey(spki))
  if (!found) throw new RangeError('The key is neither P-256 nor SM2.')
  return found
}
