// Requests that were sealed beforehand, as files of lines, and how they are dealt out.
import { readFileSync } from 'node:fs'
import type { Line } from './scenarios.ts'

/** Lines of the files, dealt in turn, so that the work of each sealer is spread over the run. */
export function readLines(files: readonly string[]): Line[] {
  const piles = files.map((file) => {
    const lines = readFileSync(file, 'utf8').split('\n').filter(Boolean)
    return group(lines.map((line) => JSON.parse(line) as Line))
  })
  const dealt: Line[] = []
  const most = Math.max(0, ...piles.map((pile) => pile.length))
  for (let i = 0; i < most; i++) for (const pile of piles) dealt.push(...(pile[i] ?? []))
  return dealt
}

/** A request and what follows it stay together. */
function group(lines: readonly Line[]): Line[][] {
  const groups: Line[][] = []
  for (const line of lines) {
    const last = groups.at(-1)
    if (line.follows && last) last.push(line)
    else groups.push([line])
  }
  return groups
}

/**
 * Equal shares of the lines for connections, as indices: what follows another is in the same share. What does not go
 * up evenly is left out.
 */
export function sharesOf(lines: readonly Line[], connections: number): number[][] {
  const size = Math.floor(lines.length / connections)
  let at = 0
  const groups = group(lines).map((each) => each.map(() => at++))
  const shares: number[][] = []
  for (let n = 0; n < connections; n++) {
    const share: number[] = []
    while (share.length < size) {
      const fits = groups.findIndex((each) => share.length + each.length <= size)
      if (fits < 0) return shares
      share.push(...(groups.splice(fits, 1)[0] as number[]))
    }
    shares.push(share)
  }
  return shares
}
