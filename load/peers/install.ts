// The peers' packages are no part of the project's own installation: they are installed on first use.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const folder = fileURLToPath(new URL('.', import.meta.url))

type Lock = { packages: Record<string, { version?: string }> }
const readLock = (file: string) => JSON.parse(readFileSync(file, 'utf8')) as Lock

/** Whether what is installed is what the lock file names. */
export function isInstalled(at: string = folder): boolean {
  const installed = join(at, 'node_modules', '.package-lock.json')
  if (!existsSync(installed)) return false
  const { packages } = readLock(installed)
  return Object.entries(readLock(join(at, 'package-lock.json')).packages).every(
    ([name, { version }]) => name === '' || packages[name]?.version === version,
  )
}

/** @throws Error that says what to do if npm cannot */
export function ensureInstalled(print: (line: string) => void): void {
  if (isInstalled()) return
  print('Installing the peers’ packages in load/peers (npm ci) ...')
  const { status, error } = spawnSync('npm', ['ci'], { cwd: folder, stdio: ['ignore', 2, 2] })
  if (status === 0) return
  throw new Error(
    `The peers’ packages are not installed (${error?.message ?? `npm ended with ${status}`}). ` +
      'Fix: run "npm ci" in load/peers, where a registry can be reached.',
  )
}
