// A folder of a test's own that outlives what runs in it: tap takes its fixture away before teardowns have ended
// what still writes there.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** `remove` belongs at the end of the teardown that ends what writes in it. */
export function makeFolder(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'vouchsafe-test-'))
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) }
}
