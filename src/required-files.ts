// The files and folders that a gateway needs before it starts: all that are missing are told at once.
import { accessSync, constants, existsSync, mkdirSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type Config, ConfigError } from './base/config.ts'

const inCerts = [
  'gateway.key',
  'gateway.crt',
  'carrier-ca.crt',
  'carrier-ca.crl',
  'bureau-ca.crt',
  'bureau-client.key',
  'bureau-client.crt',
  'card-trust.pub',
  'card-trust.jwt',
  'directory.pub',
  'ledger.key',
]

/** Where SAM_URL is set. */
const ofSam = ['sam-ca.crt', 'sam-client.key', 'sam-client.crt', 'sam-attestation.pub']

/** @throws ConfigError with one line for each file that is not there; development makes its own */
export function assertFiles(config: Config): void {
  if (config.VOUCHSAFE_MODE !== 'production') return
  const { VOUCHSAFE_CERTS: certs, VOUCHSAFE_DATA: data } = config
  const needed = config.SAM_URL === '' ? inCerts : [...inCerts, ...ofSam]
  const faults = needed
    .filter((name) => !existsSync(join(certs, name)))
    .map((name) => `${join(certs, name)} (of VOUCHSAFE_CERTS) is not there. Fix: see certs/README.md.`)
  const hasKek = existsSync(certs) && readdirSync(certs).some((name) => /^kek-[1-9]\d*\.key$/.test(name))
  if (!hasKek) {
    faults.push(
      `${join(certs, 'kek-1.key')} (of VOUCHSAFE_CERTS) is not there. ` +
        'Fix: put 32 random bytes there as one line of base64url.',
    )
  }
  const directory = join(data, 'directory.jwt')
  if (!existsSync(directory)) {
    faults.push(
      `${directory} (of VOUCHSAFE_DATA) is not there. Fix: run "vouchsafe directory sign" where the key is.`,
    )
  }
  const { PASSPORT_CSCA: csca } = config
  if (csca !== '' && !existsSync(csca)) {
    faults.push(`PASSPORT_CSCA: ${csca} is not there. Fix: see docs/PASSPORTS.md, or leave it out.`)
  }
  if (faults.length > 0) throw new ConfigError(faults)
}

/** Makes the data folder. @throws ConfigError if it cannot be made or written */
export function makeDataFolder({ VOUCHSAFE_DATA: data }: Config): void {
  try {
    mkdirSync(data, { recursive: true, mode: 0o700 })
    accessSync(data, constants.W_OK)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : 'unknown'
    throw new ConfigError([
      `VOUCHSAFE_DATA: ${data} cannot be made or written (${code}). ` +
        'Fix: name a folder that this user may write, on a disk that is not read-only.',
    ])
  }
}
