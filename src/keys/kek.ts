// Reads the versioned key-encryption keys: files kek-<version>.key, one base64url line of 32 bytes each.
import { createSecretKey, type KeyObject } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { parseBase64url } from '../base/bytes.ts'
import type { KekSet } from './keyring.ts'

const filePattern = /^kek-([1-9]\d*)\.key$/

/** @throws Error that names the file and what to do, when none is there or one is not 32 bytes */
export function loadKeks(directory: string): KekSet {
  const keks = new Map<number, KeyObject>()
  for (const file of readdirSync(directory)) {
    const version = filePattern.exec(file)?.[1]
    if (!version) continue
    if (Number(version) > 0xffff_ffff) {
      throw new Error(`${join(directory, file)} has a version above 4294967295; rename it.`)
    }
    const bytes = parseBase64url(readFileSync(join(directory, file), 'utf8').trim(), 32)
    if (!bytes) throw new Error(`${join(directory, file)} must hold 32 bytes as one base64url line.`)
    keks.set(Number(version), createSecretKey(bytes))
  }
  if (keks.size === 0)
    throw new Error(`${directory} holds no kek-<version>.key; make one of 32 random bytes.`)
  return keks
}
