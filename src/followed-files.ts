// Looks at files again when they change. What is in them, and whether it is any good, is the caller's.
import { unwatchFile, watchFile } from 'node:fs'
import { limits } from './base/limits.ts'

/**
 * Calls `look` when one of the files may have changed, and once soon after the start: a change between the
 * caller's first read and ours would else be told by nobody. `look` must not throw. Returns what ends it.
 */
export function followFiles(files: readonly string[], look: () => void): () => void {
  for (const file of files) watchFile(file, { interval: limits.crlLookMs, persistent: false }, look)
  const first = setTimeout(look, limits.crlLookMs).unref()
  return () => {
    clearTimeout(first)
    for (const file of files) unwatchFile(file, look)
  }
}
