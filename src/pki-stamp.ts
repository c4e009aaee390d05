// Whether the development PKI was looked after today and nothing was touched since: then a start need not load
// what makes certificates, which takes most of a second. Renewals are due weeks before an end, never the same day.
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { dayMs } from './base/clock.ts'

const stampName = '.checked'

type Stamp = { checkedMs: number; files: Record<string, number> }

/** Last writes by file; an absent folder has none. */
function readTimes(certsDir: string): Record<string, number> {
  const names = readdirSync(certsDir).filter((name) => !name.startsWith('.'))
  return Object.fromEntries(names.sort().map((name) => [name, statSync(join(certsDir, name)).mtimeMs]))
}

/** True if `markChecked` ran less than a day ago and every file is as it was then. */
export function isChecked(certsDir: string, nowMs: number): boolean {
  try {
    const stamp = JSON.parse(readFileSync(join(certsDir, stampName), 'utf8')) as Stamp
    const ageMs = nowMs - stamp.checkedMs
    const same = JSON.stringify(stamp.files) === JSON.stringify(readTimes(certsDir))
    return ageMs >= 0 && ageMs < dayMs && same
  } catch {
    return false // No stamp, or not one of ours: it is looked after again.
  }
}

export function markChecked(certsDir: string, nowMs: number): void {
  const stamp: Stamp = { checkedMs: nowMs, files: readTimes(certsDir) }
  writeFileSync(join(certsDir, stampName), `${JSON.stringify(stamp)}\n`, { mode: 0o600 })
}
