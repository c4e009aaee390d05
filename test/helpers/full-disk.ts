// A program, not a helper to import: a gateway is started, its files may not grow, then they may again; what each
// request got is printed as JSON lines. Run apart from tap, whose hooks end a process on SIGXFSZ, which Node ignores.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { dealCards, makeHandhelds, prepare } from '../../load/handhelds.ts'
import { dealt } from '../../load/stage.ts'
import { systemClock } from '../../src/base/clock.ts'
import { startGateway } from '../../src/gateway-process.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const root = process.argv[2] ?? ''
if (root === '') throw new Error('usage: full-disk.ts FOLDER')
const [dataDir, certsDir] = [join(root, 'data'), join(root, 'certs')]
const recoverMsMax = 5000
const gateway = await startGateway({ dataDir, certsDir })
try {
  const db = await openRegistry(join(dataDir, 'registry.db'))
  const place = { url: gateway.device, certsDir, clock: systemClock }
  const device = dealt(await makeHandhelds(place, db, 1), 0)
  const good = dealCards(place, 3).filter((card) => card.answer === 'yes')
  const [first, second] = [await prepare(device, dealt(good, 0)), await prepare(device, dealt(good, 1))]
  const ask = async (when: string, { body }: { body: string }) => {
    const { status, body: reply } = await device.post('/v1/verify', JSON.parse(body))
    console.log(JSON.stringify({ when, status, answer: reply['answer'], code: reply['code'] }))
    return status
  }
  const limit = (bytes: string) =>
    execFileSync('/usr/bin/prlimit', ['--pid', String(gateway.pid), `--fsize=${bytes}:unlimited`])
  await ask('before', first)
  limit('4096')
  for (let i = 0; i < 3; i++) await ask('full', second)
  await ask('again', first)
  limit('unlimited')
  const until = performance.now() + recoverMsMax
  while ((await ask('after', second)) !== 200 && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await device.close()
  await db.destroy()
} finally {
  await gateway.close()
}
