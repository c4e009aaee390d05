// What an operator's command finds on a machine: registry with operators, keyring, ledger, KEK folder, and if the
// test wants it a running writer that turns acts into entries, as a gateway does.
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { manualClock } from '../../src/base/clock.ts'
import { readConfig } from '../../src/base/config.ts'
import { createCommandIo } from '../../src/commands/context.ts'
import { loadKeks, makeKek } from '../../src/keys/kek.ts'
import { Keyring } from '../../src/keys/keyring.ts'
import { type Ledger, openLedger } from '../../src/ledger/ledger.ts'
import { appendChanges } from '../../src/recorder.ts'
import type { Change } from '../../src/registry/changes.ts'
import { addOperator } from '../../src/registry/operators.ts'
import { openRegistry } from '../../src/registry/schema.ts'

type Test = { testdir(): string; teardown(fn: () => unknown): void }
type Command = (args: string[], io: ReturnType<typeof createCommandIo>) => Promise<number>

export async function makePlace(t: Test, startMs: number) {
  const root = t.testdir()
  const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
  for (const directory of [dataDir, certsDir]) mkdirSync(directory)
  makeKek(certsDir, 1)
  const clock = manualClock(startMs)
  const db = await openRegistry(join(dataDir, 'registry.db'))
  const secrets: Record<string, string> = {}
  for (const role of ['admin', 'auditor', 'reviewer', 'metrics'] as const) {
    const { secret } = await addOperator(db, {
      ...{ name: `the-${role}`, role, by: 'the-admin', nowMs: clock.now() },
    })
    secrets[`the-${role}`] = secret
  }
  const openRing = (node?: string) =>
    Keyring.open({
      file: join(dataDir, 'keyring.db'),
      keks: () => loadKeks(certsDir),
      clock,
      ...(node === undefined ? {} : { node }),
    })
  const ring = await openRing('gateway-1')
  const ledger = await openLedgerOver(ring, { dataDir, clock })
  const closers: (() => unknown)[] = [() => db.destroy(), () => ring.close(), () => ledger.close()]
  t.teardown(async () => {
    for (const close of closers.splice(0).reverse()) await close()
  })

  /** Types one command as `name`; resolves to its exit code and what it said. */
  async function type(command: Command, name: string, ...args: string[]) {
    const [out, err]: [string[], string[]] = [[], []]
    const config = readConfig({
      ...{ VOUCHSAFE_DATA: dataDir, VOUCHSAFE_CERTS: certsDir },
      ...{ OPERATOR_NAME: name, OPERATOR_SECRET: secrets[name] ?? 'wrong' },
    })
    const io = createCommandIo({
      ...{ config, clock },
      out: (line) => out.push(line),
      err: (line) => err.push(line),
    })
    const code = await command(args, io)
    return { code, out, err }
  }

  /** Sooner than its own turn: a test does not wait a second for each entry. */
  function onChange(wake: (change: Change) => void) {
    const timer = setInterval(() => wake({} as Change), 10)
    return () => clearInterval(timer)
  }

  function startWriter(): void {
    const writer = appendChanges({
      ...{ db, ledger },
      registry: { onChange },
      onError: (cause) => {
        throw cause
      },
    })
    closers.push(() => writer.close())
  }
  return { dataDir, certsDir, clock, db, ring, ledger, openRing, secrets, type, startWriter }
}

function openLedgerOver(
  ring: Keyring,
  given: { dataDir: string; clock: ReturnType<typeof manualClock> },
): Promise<Ledger> {
  return openLedger({
    file: join(given.dataDir, 'ledger.db'),
    clock: given.clock,
    dayKeys: async (day) => ({
      record: (await ring.ofDay('record', day)).export(),
      tag: (await ring.ofDay('tag', day)).export(),
    }),
  })
}
