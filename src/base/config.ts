// Configuration: one table of variables. All faults are told at once, each with the value, its source and
// the fix. The only reader of the environment.
import { isIP } from 'node:net'
import { parseBase64url } from './bytes.ts'
import { limits } from './limits.ts'
import { keyType, parseVkey } from './vkey.ts'

type Parse<T> = (text: string) => T | undefined
type Setting<T> = { default: string; parse: Parse<T>; secret?: boolean; about: string; fix: string }

const oneOf =
  <const T extends string>(...words: T[]): Parse<T> =>
  (text) =>
    words.find((word) => word === text)

const integer =
  (min: number, max: number): Parse<number> =>
  (text) =>
    /^\d{1,9}$/.test(text) && Number(text) >= min && Number(text) <= max ? Number(text) : undefined

const url =
  (...protocols: string[]): Parse<string> =>
  (text) => {
    if (text === '') return ''
    const parsed = URL.canParse(text) ? new URL(text) : undefined
    return parsed && protocols.includes(parsed.protocol) ? text : undefined
  }

/** Scheme, host and port, and nothing that would be cut off or shown by mistake. */
const origin: Parse<string> = (text) =>
  URL.canParse(text) && new URL(text).protocol === 'https:' && new URL(text).origin === text
    ? text
    : undefined

const originOrNone: Parse<string> = (text) => (text === '' ? text : origin(text))

/** A vkey and the URL below which the witness takes checkpoints (c2sp.org/tlog-witness). */
export type WitnessSetting = { vkey: string; url: string }

/** Keys and URLs have no white space, and every other sign may be in a key's name or in a URL. */
const witnesses: Parse<readonly WitnessSetting[]> = (text) => {
  const parts = text.split(/\s+/).filter((part) => part !== '')
  const found: WitnessSetting[] = []
  for (let i = 0; i < parts.length; i += 2) {
    const [vkey = '', url = ''] = parts.slice(i, i + 2)
    if (parseVkey(vkey)?.type !== keyType.cosignature || !isPrefix(url)) return undefined
    found.push({ vkey, url })
  }
  return found
}

const hashBytes = 32

/** SHA-256 values in base64url, separated by white space. */
const hashes: Parse<readonly string[]> = (text) => {
  const found = text.split(/\s+/).filter((part) => part !== '')
  return found.every((part) => parseBase64url(part, hashBytes)) ? found : undefined
}

/** What a path can be added to. */
function isPrefix(text: string): boolean {
  const parsed = URL.canParse(text) ? new URL(text) : undefined
  if (!parsed || (parsed.protocol !== 'https:' && parsed.protocol !== 'http:')) return false
  return (
    parsed.origin + parsed.pathname === (text.endsWith('/') || parsed.pathname !== '/' ? text : `${text}/`)
  )
}

/** A name may lead to several addresses, of which only the first listener would be renewed. */
const address: Parse<string> = (text) => (isIP(text) === 0 ? undefined : text)
const words: Parse<string> = (text) => (text.trim() === '' ? undefined : text)
const anyText: Parse<string> = (text) => text

const setting = <T>(
  defaultText: string,
  parse: Parse<T>,
  about: string,
  fix: string,
  secret = false,
): Setting<T> => ({ default: defaultText, parse, about, fix, secret })

const port = (text: string, about: string) =>
  setting(text, integer(0, 65_535), about, 'a port from 0 (any free one) to 65535')

export const settings = {
  VOUCHSAFE_MODE: setting(
    'development',
    oneOf('development', 'production'),
    'development makes its own PKI, first operator and bureau mock; production makes nothing by itself',
    'development or production',
  ),
  VOUCHSAFE_DATA: setting('data', words, 'folder of the embedded databases', 'a folder that can be written'),
  VOUCHSAFE_CERTS: setting(
    'certs/dev',
    words,
    'folder of keys and certificates',
    'a folder, see certs/README.md',
  ),
  VOUCHSAFE_ORIGIN: setting(
    'https://localhost:8443',
    origin,
    'issuer of all tokens',
    'an https:// origin without a path, such as https://verify.example',
  ),
  DEVICE_HOST: setting(
    '127.0.0.1',
    address,
    'address of the device listener',
    'an IP address, such as 0.0.0.0',
  ),
  DEVICE_PORT: port('8443', 'port of the device listener'),
  CARRIER_HOST: setting(
    '127.0.0.1',
    address,
    'address of the carrier listener',
    'an IP address, such as 0.0.0.0',
  ),
  CARRIER_PORT: port('9443', 'port of the carrier listener'),
  OPERATOR_HOST: setting(
    '127.0.0.1',
    address,
    'address of the operator listener',
    'an IP address, such as 127.0.0.1',
  ),
  OPERATOR_PORT: port('9090', 'port of the operator listener'),
  REDIS_URL: setting(
    '',
    url('redis:', 'rediss:'),
    'Redis for guard and cache; empty: the embedded store',
    'redis://host:6379, or rediss:// for TLS, or nothing',
    true,
  ),
  CACHE_REDIS_URL: setting(
    '',
    url('redis:', 'rediss:'),
    'a Redis of its own for the cache; empty: the one of REDIS_URL',
    'redis://host:6379, or rediss:// for TLS, or nothing',
    true,
  ),
  BUREAU_URL: setting(
    '',
    originOrNone,
    'the bureau; empty in development: the mock is started beside the gateway',
    'an https:// origin without a path, such as https://bureau.example',
  ),
  BUREAU_DEADLINE_MS: setting(
    String(limits.bureauDeadlineMs),
    integer(50, 2000),
    'overall deadline of a question to the bureau, ms',
    'a number of ms from 50 to 2000',
  ),
  SAM_URL: setting(
    '',
    originOrNone,
    'the service that reads cards through licensed modules; empty: no cards are read so',
    'an https:// origin without a path, such as https://sam.example, or nothing',
  ),
  WORKERS: setting(
    '0',
    integer(0, 64),
    'worker processes that serve, on the same ports; 0: the process that is started serves itself',
    'a number from 0 to 64',
  ),
  LOG_LEVEL: setting(
    'info',
    oneOf('fatal', 'error', 'warn', 'info', 'debug', 'trace'),
    'how much is logged',
    'fatal, error, warn, info, debug or trace',
  ),
  DEVICE_RATE: setting('20', integer(1, 100_000), 'verifications a second of one device', 'a number from 1'),
  OUTLET_RATE: setting(
    '500',
    integer(1, 1_000_000),
    'verifications a second of one outlet',
    'a number from 1',
  ),
  CARRIER_RATE: setting(
    '20000',
    integer(1, 10_000_000),
    'verifications a second of one carrier',
    'a number from 1',
  ),
  ADDRESS_RATE: setting(
    '600',
    integer(1, 10_000_000),
    'session challenges a minute of one address',
    'a number from 1',
  ),
  CARRIER_API_RATE: setting(
    '2000',
    integer(1, 1_000_000),
    'calls a second of one carrier on the carrier listener',
    'a number from 1',
  ),
  DEVICE_REFUSALS: setting(
    '20',
    integer(0, 100_000),
    'refusals of one device within 10 minutes that suspend it; 0: none do',
    'a number from 0 to 100000',
  ),
  DEVICE_PEOPLE_PER_DAY: setting(
    '400',
    integer(0, 100_000),
    'people a day of one device that never suspend it; beyond, more than 4 times its norm do; 0: none do',
    'a number from 0 to 100000',
  ),
  CANARIES: setting(
    '',
    hashes,
    'people who must never appear, as hashes separated by white space; empty: none',
    'SHA-256 values of canary{docType, state, number} in base64url, 43 characters each, separated by spaces',
    true,
  ),
  PASSPORT_CSCA: setting(
    '',
    anyText,
    'folder of the CSCAs and revocation lists of passports; empty: no passports',
    'a folder, see docs/PASSPORTS.md, or nothing',
  ),
  IN_FLIGHT_MAX: setting(
    String(limits.inFlightMax),
    integer(1, 100_000),
    'requests of one listener answered at once; more are told that the gateway is busy',
    'a number from 1',
  ),
  CARD_CRL_MINUTES: setting(
    '15',
    integer(1, 1440),
    'minutes after which a card issuer’s revocation list is fetched again at the latest',
    'a number of minutes from 1 to 1440',
  ),
  MIN_FIRMWARE: setting('1', integer(0, 999_999_999), 'oldest reader firmware admitted', 'a number from 0'),
  RETENTION_DAYS: setting(
    '730',
    integer(1, 36_500),
    'days for which private rows can be opened; then "vouchsafe keys destroy" ends that',
    'a number of days from 1 to 36500',
  ),
  WITNESSES: setting(
    '',
    witnesses,
    'who cosigns checkpoints: key and URL of each, separated by white space; empty: nobody',
    'pairs of a vkey of type 4 and an https:// or http:// URL, all separated by spaces: ' +
      'NAME+ID+KEY https://witness.example NAME+ID+KEY https://other.example/prefix',
  ),
  WITNESS_QUORUM: setting(
    '0',
    integer(0, 64),
    'how many of WITNESSES must have cosigned a checkpoint before it is shown',
    'a number from 1 to that of the witnesses, or 0 without any',
  ),
  OPERATOR_NAME: setting(
    '',
    anyText,
    'who acts, for commands that change something',
    'a name of operator list',
  ),
  OPERATOR_SECRET: setting('', anyText, 'secret of OPERATOR_NAME', 'the secret shown by operator add', true),
} as const

type Settings = typeof settings
export type Config = {
  readonly [K in keyof Settings]: Settings[K] extends Setting<infer T> ? T : never
}

/** All faults of a configuration, as lines for a person. Exit code 78 (EX_CONFIG of sysexits.h). */
export class ConfigError extends Error {
  readonly faults: readonly string[]
  constructor(faults: readonly string[]) {
    super(`The configuration has ${faults.length} ${faults.length === 1 ? 'fault' : 'faults'}.`)
    this.faults = faults
  }
}

/** Reads the table from `env`, by default the environment of the process. Throws ConfigError. */
export function readConfig(env: Record<string, string | undefined> = process.env): Config {
  const faults: string[] = []
  const values: Record<string, unknown> = {}
  for (const [name, row] of Object.entries(settings) as [string, Setting<unknown>][]) {
    const given = env[name]
    const value = row.parse(given ?? row.default)
    if (value === undefined) {
      const shown = row.secret ? '(hidden)' : JSON.stringify(given)
      faults.push(`${name} = ${shown} (from the environment) is not accepted. Fix: set it to ${row.fix}.`)
    }
    values[name] = value
  }
  const config = values as Config
  faults.push(...faultsBetween(config), ...sharedPorts(config), ...faultsOfWitnesses(config))
  if (faults.length > 0) throw new ConfigError(faults)
  return config
}

function faultsBetween(config: Config): string[] {
  const faults: string[] = []
  if (config.WORKERS > 1 && config.REDIS_URL === '') {
    faults.push(
      `WORKERS = ${config.WORKERS} with no REDIS_URL: the embedded store is not shared between processes. ` +
        'Fix: set REDIS_URL, or WORKERS to 1.',
    )
  }
  if (config.VOUCHSAFE_MODE === 'production' && config.REDIS_URL === '') {
    faults.push(
      'REDIS_URL is empty (the default) and VOUCHSAFE_MODE is production: the embedded store forgets its ' +
        'guards at a restart. Fix: set REDIS_URL to redis://host:6379.',
    )
  }
  if (config.VOUCHSAFE_MODE === 'production' && config.BUREAU_URL === '') {
    faults.push(
      'BUREAU_URL is empty (the default) and VOUCHSAFE_MODE is production: no mock is started there. ' +
        'Fix: set BUREAU_URL to the https:// origin of the bureau.',
    )
  }
  const bureauMsMax = limits.requestMsMax - limits.samDeadlineMs - limits.recordMsMin
  if (config.SAM_URL !== '' && config.BUREAU_DEADLINE_MS > bureauMsMax) {
    faults.push(
      `BUREAU_DEADLINE_MS = ${config.BUREAU_DEADLINE_MS} with SAM_URL: a request of ${limits.requestMsMax} ms has ` +
        `no time for both. Fix: set BUREAU_DEADLINE_MS to a number up to ${bureauMsMax}.`,
    )
  }
  return faults
}

/** 0 stands for any free port, so several may have it. */
function sharedPorts(config: Config): string[] {
  const names = ['DEVICE_PORT', 'CARRIER_PORT', 'OPERATOR_PORT'] as const
  const faults: string[] = []
  for (const [i, name] of names.entries()) {
    const same = names.slice(0, i).find((other) => config[name] > 0 && config[other] === config[name])
    if (same) faults.push(`${name} = ${config[name]} is the port of ${same} too. Fix: give each its own.`)
  }
  return faults
}

function faultsOfWitnesses({ WITNESSES: given = [], WITNESS_QUORUM: quorum }: Config): string[] {
  const faults: string[] = []
  const keyOf = ({ vkey }: WitnessSetting) => vkey.slice(vkey.lastIndexOf('+'))
  const nameOf = ({ vkey }: WitnessSetting) => vkey.slice(0, vkey.indexOf('+'))
  for (const [i, witness] of given.entries()) {
    const same = given
      .slice(0, i)
      .find((other) => keyOf(other) === keyOf(witness) || other.url === witness.url)
    if (!same) continue
    const what = keyOf(same) === keyOf(witness) ? 'key' : 'URL'
    faults.push(
      `WITNESSES (from the environment): ${nameOf(witness)} has the ${what} of ${nameOf(same)}, and would count ` +
        'twice. Fix: leave one out.',
    )
  }
  if (quorum > given.length) {
    faults.push(
      `WITNESS_QUORUM = ${quorum} of ${given.length} in WITNESSES: no checkpoint would ever be shown. ` +
        `Fix: set it to a number up to ${given.length}, or add to WITNESSES.`,
    )
  }
  if (quorum === 0 && given.length > 0) {
    faults.push(
      `WITNESS_QUORUM = 0 with ${given.length} in WITNESSES: nobody would wait for them. ` +
        `Fix: set it to a number from 1 to ${given.length}, or leave WITNESSES out.`,
    )
  }
  return faults
}

/** A copy of the environment for a child process, with changes. */
export const childEnvironment = (changes: Record<string, string | undefined>) => ({
  ...process.env,
  ...changes,
})
