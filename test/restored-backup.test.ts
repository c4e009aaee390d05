// A database put back from an older backup: the gateway does not start, and says what is wrong and what to do.
import { cpSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { startGateway } from '../src/gateway-process.ts'
import { admitCarrier } from '../src/registry/carriers.ts'
import { openRegistry } from '../src/registry/schema.ts'
import { makeFolder } from './helpers/folder.ts'

const folder = makeFolder()
t.teardown(() => folder.remove())
const at = (...names: string[]) => join(folder.path, ...names)
const folders = { dataDir: at('data'), certsDir: at('certs') }

async function runOnce(): Promise<void> {
  const gateway = await startGateway(folders)
  await gateway.close()
}

/** What a start that must fail says; it is ended if it does not. */
async function refusal(): Promise<string> {
  try {
    const gateway = await startGateway(folders)
    await gateway.close()
    return 'it started'
  } catch (error) {
    return (error as Error).message
  }
}

async function admit(id: string): Promise<void> {
  const db = await openRegistry(at('data', 'registry.db'))
  const outlets = [{ id: 'harbour', name: 'Harbour' }]
  await admitCarrier(db, { id, name: 'X', outlets, operator: 'lin.qiao', nowMs: Date.now() })
  await db.destroy()
}

/** As a person would: the file alone, and no log of what came after it. */
function putBack(name: string, from: string): void {
  for (const ending of ['-wal', '-shm']) rmSync(at('data', name + ending), { force: true })
  cpSync(at(from, name), at('data', name))
}

t.test('an older registry or ledger is refused with a sentence; the newer ones start again', async (t) => {
  await runOnce()
  cpSync(at('data'), at('older'), { recursive: true })
  await admit('night-heron')
  await admit('sea-crow')
  await runOnce() // The acts are recorded, and their checkpoint signed.
  cpSync(at('data'), at('newer'), { recursive: true })

  putBack('registry.db', 'older')
  t.match(
    await refusal(),
    /change \d+, the last that was recorded, is missing here.*Fix: put back a registry.db/,
  )
  await admit('grey-goose')
  await admit('white-stork')
  t.match(await refusal(), /change \d+, the last that was recorded, is another one here/)
  putBack('registry.db', 'older')
  await admit('grey-goose')
  await admit('sea-crow')
  t.match(await refusal(), /change \d+, .* is another one here/, 'the same act again, at another time')
  putBack('registry.db', 'newer')

  putBack('ledger.db', 'older')
  t.match(await refusal(), /it was put back from an older backup\. Fix: put back a copy that is as new/)
  putBack('ledger.db', 'newer')
  t.equal(await refusal(), 'it started')
})
