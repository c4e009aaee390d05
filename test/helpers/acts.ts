// The acts of destructions in a file, so that they outlive a process that is killed; entries come at once.
import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import type { Acts, DestructionAct } from '../../src/keys/destruction.ts'

export const readActs = (file: string) =>
  existsSync(file)
    ? readFileSync(file, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) => JSON.parse(line) as { id: string; act: DestructionAct })
    : []

export const actsIn = (file: string): Acts => ({
  async find(id) {
    const at = readActs(file).findIndex((written) => written.id === id)
    return at < 0 ? undefined : at + 1
  },
  async write(id, act) {
    appendFileSync(file, `${JSON.stringify({ id, act })}\n`)
    return readActs(file).length
  },
  isEntered: async () => true,
})
