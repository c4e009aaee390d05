// What processes cost, from the operating system (proc(5)): CPU time to the nanosecond, and resident memory.
import { existsSync, readdirSync, readFileSync } from 'node:fs'

function read(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return '' // It has ended.
  }
}

function list(folder: string): string[] {
  try {
    return readdirSync(folder)
  } catch {
    return []
  }
}

/** CPU time of all threads of a process that still live, microseconds. */
export function cpuMicros(pid: number): number {
  let ns = 0
  for (const thread of list(`/proc/${pid}/task`)) {
    ns += Number(read(`/proc/${pid}/task/${thread}/schedstat`).split(' ')[0])
  }
  return ns / 1000
}

/** Resident memory of a process, MB. */
export const rssMb = (pid: number): number =>
  Number(/VmRSS:\s+(\d+)/.exec(read(`/proc/${pid}/status`))?.[1] ?? 0) / 1024

/** Processes that a process started and that still live. */
export function childrenOf(pid: number): number[] {
  return list('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => Number(read(`/proc/${name}/stat`).split(') ').at(-1)?.split(' ')[1]) === pid)
    .map(Number)
}

/** Processes of a gateway that serve: its workers, or itself where it has none. */
export function servingOf(pid: number): number[] {
  const workers = childrenOf(pid).filter((child) => read(`/proc/${child}/cmdline`).includes('worker.ts'))
  return workers.length > 0 ? workers : [pid]
}

export type Sample = { atMs: number } & Record<string, number>

/**
 * Watches named processes, each with the children that it has by now.
 * @returns `begin` counts anew from now on; `stop` ends it: CPU microseconds of each name since it began (NaN if a
 *   process of it ended meanwhile), and the share of a core of each process over time
 */
export function watchCpu(pids: Record<string, number>, everyMs = 250) {
  const names = Object.keys(pids)
  const trees = names.map((name) => [name, [pids[name] ?? 0, ...childrenOf(pids[name] ?? 0)]] as const)
  /** Each process by itself: the first of a tree has its name, the others are numbered. */
  const each = trees.flatMap(([name, tree]) =>
    tree.map((pid, i) => ({ name, pid, label: i === 0 ? name : `${name}, process ${i + 1}` })),
  )
  const now = (): Record<string, number> =>
    Object.fromEntries(each.map(({ label, pid }) => [label, cpuMicros(pid)]))
  const began = performance.now()
  let first = now()
  const samples: Sample[] = []
  let last = { atMs: 0, micros: first }
  const look = () => {
    const at = { atMs: performance.now() - began, micros: now() }
    const sample: Sample = { atMs: Math.round(at.atMs) }
    for (const { label } of each) {
      const used = (at.micros[label] ?? 0) - (last.micros[label] ?? 0)
      sample[label] = Math.round(used / (at.atMs - last.atMs) / 10) / 100
    }
    samples.push(sample)
    last = at
  }
  const timer = setInterval(look, everyMs)
  return {
    begin() {
      first = now()
    },
    stop() {
      clearInterval(timer)
      const micros = now()
      const used = Object.fromEntries(names.map((name) => [name, 0]))
      for (const { name, pid, label } of each) {
        // A process that ended took its count with it: what it cost is not known.
        if (!existsSync(`/proc/${pid}`)) used[name] = Number.NaN
        used[name] = (used[name] ?? 0) + (micros[label] ?? 0) - (first[label] ?? 0)
      }
      return { micros: used, samples }
    },
  }
}
