// The versioned key-encryption keys as files: kek-<version>.key, one base64url line of 32 bytes each. Read by
// whoever opens the keyring; made and erased only by a destruction (PROTOCOL section 3).
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import {
  accessSync,
  chmodSync,
  closeSync,
  constants,
  existsSync,
  fchownSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { syncFolder } from '../base/folder.ts'
import type { KekSet } from './store.ts'

const filePattern = /^kek-([1-9]\d*)\.key$/
/** A version on its way out: no reader looks at this name. */
const retiredPattern = /^\.kek-[1-9]\d*\.key\.retired$/
const versionMax = 0xffff_ffff

const fileOf = (version: number) => `kek-${version}.key`

/** @throws Error that names the file and what to do, when none is there or one is not 32 bytes */
export function loadKeks(directory: string): KekSet {
  const keks = new Map<number, KeyObject>()
  for (const version of listKeks(directory)) {
    const file = join(directory, fileOf(version))
    const text = readIfThere(file)
    if (text === undefined) continue // It was retired since it was listed.
    const bytes = parseBase64url(text.trim(), 32)
    if (!bytes) throw new Error(`${file} must hold 32 bytes as one base64url line.`)
    keks.set(version, createSecretKey(bytes))
    bytes.fill(0)
  }
  if (keks.size === 0)
    throw new Error(`${directory} holds no kek-<version>.key; make one of 32 random bytes.`)
  return keks
}

/** The versions that are there, lowest first. */
export function listKeks(directory: string): number[] {
  const versions: number[] = []
  for (const file of readdirSync(directory)) {
    const version = Number(filePattern.exec(file)?.[1] ?? 0)
    if (version > versionMax) {
      throw new Error(`${join(directory, file)} has a version above ${versionMax}; rename it.`)
    }
    if (version > 0) versions.push(version)
  }
  return versions.sort((a, b) => a - b)
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

/** @throws Error unless files can be made and removed in the folder */
export function assertKekFolder(directory: string): void {
  try {
    accessSync(directory, constants.W_OK | constants.X_OK)
  } catch (cause) {
    throw new Error(
      `${directory} cannot be written; a new KEK is made there. Run this as its owner, or where it can be.`,
      { cause },
    )
  }
}

/** Makes a version, whole and durable when this returns; one that is there is kept, and true tells that. */
export function makeKek(directory: string, version: number): boolean {
  const file = join(directory, fileOf(version))
  if (existsSync(file)) return true
  const aside = join(directory, `.${fileOf(version)}.new`)
  rmSync(aside, { force: true }) // What a death left may have another mode.
  const bytes = randomBytes(32)
  const handle = openSync(aside, 'wx', 0o600)
  try {
    writeSync(handle, `${printBase64url(bytes)}\n`)
    giveToOwnerOf(directory, handle)
    fsyncSync(handle)
  } finally {
    closeSync(handle)
    bytes.fill(0)
  }
  // Dying here leaves a file that no reader looks at; the next run writes it anew.
  renameSync(aside, file)
  syncFolder(directory)
  return false
}

/** Made by an administrator, read by the gateways: who owns the other versions must own this one too. */
function giveToOwnerOf(directory: string, handle: number): void {
  const [oldest] = listKeks(directory)
  if (oldest === undefined) return
  const { uid, gid } = statSync(join(directory, fileOf(oldest)))
  const own = fstatSync(handle)
  if (own.uid !== uid) fchownSync(handle, uid, gid) // Refused unless by root: better here than unread later.
}

/** Takes all versions below out of sight of every reader. */
export function retireKeks(directory: string, below: number): number[] {
  const retired = listKeks(directory).filter((version) => version < below)
  for (const version of retired) {
    renameSync(join(directory, fileOf(version)), join(directory, `.${fileOf(version)}.retired`))
  }
  syncFolder(directory)
  return retired
}

/** Overwrites and removes what was retired. What a disk or file system keeps of old blocks is beyond us. */
export function eraseRetiredKeks(directory: string): void {
  for (const name of readdirSync(directory).filter((name) => retiredPattern.test(name))) {
    const file = join(directory, name)
    chmodSync(file, 0o600)
    const handle = openSync(file, 'r+')
    try {
      const { size } = fstatSync(handle)
      writeSync(handle, randomBytes(size), 0, size, 0)
      fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    // Dying here leaves random bytes under a name that no reader looks at.
    unlinkSync(file)
  }
  syncFolder(directory)
}
