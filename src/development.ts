// What a first start makes on a developer's machine, and never in production: PKI, first operator, two demo
// carriers with an outlet, one demo handheld, and the mocked bureau as a process of its own.
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { generateKeyPairSync, X509Certificate } from 'node:crypto'
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { printBase64url, sha256 } from './base/bytes.ts'
import type { Clock } from './base/clock.ts'
import { childEnvironment } from './base/config.ts'
import { isChecked, markChecked } from './pki-stamp.ts'
import { admitCarrier, listCarriers } from './registry/carriers.ts'
import { listCertificates, recordCertificate } from './registry/certificates.ts'
import { registerDevice } from './registry/devices.ts'
import { addOperator, listOperators } from './registry/operators.ts'
import { openRegistry, type RegistryDb } from './registry/schema.ts'
import { proveDeviceKey } from './sdk/reader.ts'

/** Seed of the mocked bureau's hundred million people. */
export const devSeed = 'vouchsafe-development'

export const demoCarriers = [
  { id: 'swift-crane', name: 'Swift Crane Express', outlets: [{ id: 'harbour', name: 'Harbour' }] },
  { id: 'river-post', name: 'River Post', outlets: [{ id: 'old-bridge', name: 'Old Bridge' }] },
]

/** A handheld whose key lies in a file: only development has such a thing. */
export type DemoDevice = { id: string; carrier: string; outlet: string; key: string }

export const demoDeviceFile = (dataDir: string) => join(dataDir, 'demo-device.json')

const firstOperator = 'founder'

/** Makes what is absent of the PKI; what it made and what it warns of, as text for a person. */
export type EnsurePki = (certsDir: string, nowMs: number) => Promise<{ made: string; warnings: string[] }>

export type FirstStart = {
  made: string
  warnings: string[]
  operator: { name: string; secret: string } | undefined
}

/** Makes what is absent; a second start makes nothing. */
export async function prepareDevelopment(options: {
  dataDir: string
  certsDir: string
  clock: Clock
  ensurePki?: EnsurePki
}): Promise<FirstStart> {
  const { dataDir, certsDir, clock, ensurePki = ensurePkiApart } = options
  mkdirSync(dataDir, { recursive: true, mode: 0o700 })
  const { made, warnings } = await ensurePki(certsDir, clock.now())
  const db = await openRegistry(join(dataDir, 'registry.db'))
  try {
    const operator = await ensureOperator(db, clock)
    await ensureCarriers(db, clock)
    await ensureCertificates(db, { certsDir, clock })
    await ensureDevice(db, { dataDir, clock })
    return { made, warnings, operator }
  } finally {
    await db.destroy()
  }
}

/** In a process of its own: the libraries that make certificates would stay in a gateway's memory. */
async function ensurePkiApart(
  certsDir: string,
  nowMs: number,
): Promise<{ made: string; warnings: string[] }> {
  if (isChecked(certsDir, nowMs)) return { made: '', warnings: [] }
  const cli = fileURLToPath(new URL('cli.ts', import.meta.url))
  const env = childEnvironment({ VOUCHSAFE_CERTS: certsDir })
  const { stdout, stderr } = await promisify(execFile)(process.execPath, [cli, 'pki', '--quiet'], { env })
  const warnings = stderr.split('\n').filter((line) => line !== '')
  if (warnings.length === 0) markChecked(certsDir, nowMs) // What there is to warn of is told at every start.
  return { made: stdout.trimEnd(), warnings }
}

async function ensureOperator(db: RegistryDb, clock: Clock) {
  if ((await listOperators(db)).length > 0) return undefined
  const nowMs = clock.now()
  const { secret } = await addOperator(db, { name: firstOperator, role: 'admin', by: firstOperator, nowMs })
  return { name: firstOperator, secret }
}

async function ensureCarriers(db: RegistryDb, clock: Clock): Promise<void> {
  const known = new Set((await listCarriers(db)).map((carrier) => carrier.id))
  for (const carrier of demoCarriers) {
    if (!known.has(carrier.id))
      await admitCarrier(db, { ...carrier, operator: firstOperator, nowMs: clock.now() })
  }
}

/** Certificates of the development PKI are on record like those that are issued: so they can be revoked alike. */
async function ensureCertificates(db: RegistryDb, given: { certsDir: string; clock: Clock }): Promise<void> {
  const { certsDir, clock } = given
  const known = new Set((await listCertificates(db)).map(({ serial }) => serial))
  for (const { id } of demoCarriers) {
    const file = join(certsDir, `carrier-${id}.crt`)
    if (!existsSync(file)) continue
    const certificate = new X509Certificate(readFileSync(file))
    const { serialNumber: serial, publicKey, validToDate } = certificate
    if (known.has(serial)) continue
    const keyHash = sha256(publicKey.export({ format: 'der', type: 'spki' }))
    const kept = { serial, carrier: id, keyHash, notAfterMs: validToDate.getTime() }
    await recordCertificate(db, { ...kept, operator: firstOperator, nowMs: clock.now() })
  }
}

async function ensureDevice(db: RegistryDb, given: { dataDir: string; clock: Clock }): Promise<void> {
  const file = demoDeviceFile(given.dataDir)
  if (existsSync(file)) return
  const [carrier] = demoCarriers
  const outlet = carrier?.outlets[0]
  if (!carrier || !outlet) return
  const device = await registerDemoDevice(db, { carrier: carrier.id, outlet: outlet.id, clock: given.clock })
  writeFileSync(file, `${JSON.stringify(device)}\n`, { mode: 0o600 })
}

/** Registers a new handheld whose key the caller may keep. */
export async function registerDemoDevice(
  db: RegistryDb,
  given: { carrier: string; outlet: string; clock: Clock },
): Promise<DemoDevice> {
  const { carrier, outlet, clock } = given
  const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const serial = `demo-${clock.now()}-${printBase64url(proveDeviceKey(privateKey, carrier, '').spki.subarray(-6))}`
  const { spki, pop } = proveDeviceKey(privateKey, carrier, serial)
  const { id } = await registerDevice(db, {
    carrier,
    outlet,
    serial,
    model: 'simulator',
    spki,
    pop,
    operator: firstOperator,
    nowMs: clock.now(),
  })
  const key = privateKey.export({ format: 'pem', type: 'pkcs8' }) as string
  return { id: printBase64url(id), carrier, outlet, key }
}

export const readDemoDevice = (dataDir: string) =>
  JSON.parse(readFileSync(demoDeviceFile(dataDir), 'utf8')) as DemoDevice

/** Starts the mocked bureau on a free port; resolves when it listens. */
export async function startBureauMock(certsDir: string): Promise<{ url: string; process: ChildProcess }> {
  const main = fileURLToPath(new URL('bureau-mock/main.ts', import.meta.url))
  const child = spawn(process.execPath, [main, '--certs', certsDir, '--seed', devSeed, '--port', '0'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    env: childEnvironment({}),
  })
  const lines = createInterface({ input: child.stdout })
  return new Promise((resolve, reject) => {
    child.once('exit', (code) =>
      reject(new Error(`The bureau mock ended with code ${code} before it listened.`)),
    )
    child.once('error', reject)
    lines.on('line', (line) => {
      const url = /(https:\/\/\S+)/.exec(line)?.[1]
      if (url) resolve({ url, process: child })
    })
  })
}
