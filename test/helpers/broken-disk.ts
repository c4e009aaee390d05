// A program, not a helper to import: a gateway is started, its disk takes nothing any more, then it does again; what
// each request got is printed as JSON lines. `full`: files may not grow (run apart from tap, whose hooks end a process
// on SIGXFSZ, which Node ignores). `read-only`: the folder is a file system of its own, which the kernel gives up as
// it does after an error of the disk, and which is mounted anew for a second gateway.
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { dealCards, makeHandhelds, prepare } from '../../load/handhelds.ts'
import { dealt } from '../../load/stage.ts'
import { systemClock } from '../../src/base/clock.ts'
import { startGateway } from '../../src/gateway-process.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const [root = '', kind] = process.argv.slice(2)
if (root === '' || (kind !== 'full' && kind !== 'read-only')) {
  throw new Error('usage: broken-disk.ts FOLDER full|read-only')
}
const folders = { dataDir: join(root, 'data'), certsDir: join(root, 'certs') }
const recoverMsMax = 5000
let gateway = await startGateway(folders)

const limit = (bytes: string) =>
  execFileSync('/usr/bin/prlimit', ['--pid', String(gateway.pid), `--fsize=${bytes}:unlimited`])

function breakDisk(): void {
  if (kind === 'full') limit('4096')
  else execFileSync('mount', ['-o', 'remount,abort', root])
}

async function mendDisk(): Promise<void> {
  if (kind === 'full') return void limit('unlimited')
  await gateway.kill()
  const read = (command: string, ...args: string[]) =>
    execFileSync(command, args, { encoding: 'utf8' }).trim()
  const device = read('findmnt', '-n', '-o', 'SOURCE', root)
  const image = read('losetup', '-n', '-O', 'BACK-FILE', device)
  execFileSync('umount', [root])
  execFileSync('mount', ['-o', 'loop', image, root])
  const port = { DEVICE_PORT: new URL(gateway.device).port } // The handheld knows no other.
  gateway = await startGateway({ ...folders, env: port })
}

/** The entry that a token names, where there is a token. */
function indexIn(token: unknown): number | undefined {
  const claims = typeof token === 'string' ? token.split('.')[1] : undefined
  return claims && JSON.parse(Buffer.from(claims, 'base64url').toString()).index
}

try {
  const db = await openRegistry(join(folders.dataDir, 'registry.db'))
  const place = { url: gateway.device, certsDir: folders.certsDir, clock: systemClock }
  const device = dealt(await makeHandhelds(place, db, 1), 0)
  await db.destroy()
  const good = dealCards(place, 3).filter((card) => card.answer === 'yes')
  const [first, second] = [await prepare(device, dealt(good, 0)), await prepare(device, dealt(good, 1))]
  const ask = async (when: string, { body }: { body: string }) => {
    const { status, body: reply } = await device.post('/v1/verify', JSON.parse(body))
    const { answer, code, token } = reply
    console.log(JSON.stringify({ when, status, answer, index: indexIn(token), code }))
    return status
  }
  await ask('before', first)
  breakDisk()
  for (let i = 0; i < 3; i++) await ask('broken', second)
  await ask('again', first)
  await mendDisk()
  const until = performance.now() + recoverMsMax
  while ((await ask('after', second)) !== 200 && performance.now() < until) {
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  await ask('mended', first)
  await device.close()
} finally {
  await gateway.close()
}
