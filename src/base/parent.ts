// A process that ends with the one that started it: what the mocks are, beside a gateway or a test.
import { fstatSync } from 'node:fs'

/** Calls `end` once: on a signal, or when the pipe or channel from the parent closes because it died. */
export function endWith(end: () => Promise<void>): void {
  let ended = false
  const once = () => {
    if (ended) return
    ended = true
    void end()
  }
  process.once('SIGTERM', once)
  process.once('SIGINT', once)
  process.once('disconnect', once)
  // Without a parent's pipe (a container, a service) standard input is /dev/null and ends at once.
  if (isPipe(0)) process.stdin.once('end', once).once('error', once).resume()
}

function isPipe(descriptor: number): boolean {
  try {
    const stat = fstatSync(descriptor)
    return stat.isFIFO() || stat.isSocket()
  } catch {
    return false // Closed: nobody holds the other end.
  }
}
