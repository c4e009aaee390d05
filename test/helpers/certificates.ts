// Client certificates of every kind, good and bad, made by openssl: what a test says is wrong is all that is wrong.
import { execFileSync } from 'node:child_process'
import { generateKeyPairSync, type KeyObject, X509Certificate } from 'node:crypto'
import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** PEM; `cert` may have others after the leaf. */
export type Pem = { cert: string; key: string }

export const urn = (carrier: string) => `urn:vouchsafe:carrier:${carrier}`

const ec = (namedCurve: string) => () => generateKeyPairSync('ec', { namedCurve }).privateKey
const rsa =
  (modulusLength: number, publicExponent = 0x10001) =>
  () =>
    generateKeyPairSync('rsa', { modulusLength, publicExponent }).privateKey

/** By name; each is made once. */
const keyMakers = {
  'P-192': ec('prime192v1'),
  'P-224': ec('secp224r1'),
  'P-256': ec('prime256v1'),
  'P-384': ec('secp384r1'),
  'P-521': ec('secp521r1'),
  secp256k1: ec('secp256k1'),
  'RSA-1024': rsa(1024),
  'RSA-2048': rsa(2048),
  'RSA-3072': rsa(3072),
  'RSA-3072, exponent 3': rsa(3072, 3),
  'RSA-4096': rsa(4096),
  'RSA-PSS-3072': () => generateKeyPairSync('rsa-pss', { modulusLength: 3072 }).privateKey,
  Ed25519: () => generateKeyPairSync('ed25519').privateKey,
}
export type KeyName = keyof typeof keyMakers
const keys = new Map<KeyName, string>()

export function keyOf(name: KeyName): string {
  const pem = keys.get(name) ?? printKey(keyMakers[name]())
  keys.set(name, pem)
  return pem
}
const printKey = (key: KeyObject) => key.export({ format: 'pem', type: 'pkcs8' }).toString()

/** GeneralName tags (RFC 5280 section 4.2.1.6). */
const nameTags = { other: 0xa0, email: 0x81, dns: 0x82, directory: 0xa4, uri: 0x86, ip: 0x87, rid: 0x88 }
export type Name = [kind: keyof typeof nameTags, body: string | Buffer]

/** DER of a subjectAltName with exactly these names, whatever is in them: openssl's own words cannot say all. */
export function namesDer(names: readonly Name[]): Buffer {
  const element = (tag: number, body: Buffer) => {
    const { length } = body
    if (length > 0xff) throw new Error('longer than this helper writes')
    return Buffer.concat([Buffer.of(tag, ...(length < 0x80 ? [length] : [0x81, length])), body])
  }
  return element(0x30, Buffer.concat(names.map(([kind, body]) => element(nameTags[kind], bytesOf(body)))))
}
const bytesOf = (body: string | Buffer) => (typeof body === 'string' ? Buffer.from(body) : body)
const hexOf = (bytes: Buffer) => bytes.toString('hex').replace(/..(?!$)/g, '$&:')

export type Wish = {
  key?: KeyName | { pem: string }
  names?: readonly Name[] | 'none'
  /** Lines of an openssl extension section, for those of the good certificate with the same name; '' leaves it out. */
  extensions?: Record<string, string>
  hash?: string
  subject?: string
  fromMs?: number
  toMs?: number
}

/** What a carrier's certificate should have. */
const usual = {
  basicConstraints: 'critical,CA:FALSE',
  keyUsage: 'critical,digitalSignature',
  extendedKeyUsage: 'clientAuth',
  subjectKeyIdentifier: 'hash',
  authorityKeyIdentifier: 'keyid',
}

const config = `
[ca]
default_ca = here
[here]
database = index
new_certs_dir = .
rand_serial = yes
unique_subject = no
policy = any
[any]
commonName = optional
organizationName = optional
[req]
distinguished_name = none
[none]
`

const hourMs = 3_600_000
const printTime = (ms: number) => `${new Date(ms).toISOString().slice(0, 19).replace(/[-T:]/g, '')}Z`

export class TestCa {
  readonly cert: string
  readonly #folder: string
  #count = 0

  /** A CA that there is, in a folder of its own below `root`. */
  constructor(root: string, { cert, key }: Pem) {
    this.#folder = mkdtempSync(join(root, 'ca-'))
    this.cert = cert
    this.#write('ca.crt', cert)
    this.#write('ca.key', key)
    this.#write('config', config)
    this.#write('index', '')
  }

  /** A new self-signed CA; `keyId` is a subjectKeyIdentifier of choice, hex with colons. */
  static make(root: string, { subject, keyId }: { subject: string; keyId?: string }): TestCa {
    const key = printKey(keyMakers['P-256']())
    const folder = mkdtempSync(join(root, 'new-'))
    const file = (name: string) => join(folder, name)
    writeFileSync(file('key'), key)
    writeFileSync(file('config'), config)
    const extensions = [
      'basicConstraints=critical,CA:TRUE',
      'keyUsage=critical,keyCertSign,cRLSign',
      `subjectKeyIdentifier=${keyId ?? 'hash'}`,
    ]
    const cert = selfSign(file, { subject, extensions })
    return new TestCa(root, { cert, key })
  }

  get keyId(): string {
    const text = this.#run('x509', '-in', 'ca.crt', '-noout', '-ext', 'subjectKeyIdentifier')
    return text.split('\n')[1]?.trim() ?? ''
  }

  get subject(): string {
    return this.#run('x509', '-in', 'ca.crt', '-noout', '-subject', '-nameopt', 'compat').trim().slice(8)
  }

  /** Issues what is wished; what is not said is as it should be for the carrier swift-crane. */
  issue(wish: Wish = {}): Pem {
    const { key = 'P-256', hash = 'sha256', subject = '/CN=back end', extensions = {} } = wish
    const { fromMs = Date.now() - hourMs, toMs = Date.now() + 24 * hourMs } = wish
    const { names = [['uri', urn('swift-crane')]] } = wish
    const pem = typeof key === 'string' ? keyOf(key) : key.pem
    const { request, out } = this.#request(pem, subject)
    const all = { ...usual, ...extensions }
    const lines = Object.entries(all).flatMap(([name, value]) => (value === '' ? [] : [`${name} = ${value}`]))
    if (names !== 'none') lines.push(`2.5.29.17 = DER:${hexOf(namesDer(names))}`)
    this.#write('extensions', `${lines.join('\n')}\n`)
    const dates = ['-startdate', printTime(fromMs), '-enddate', printTime(toMs)]
    const issuer = ['-keyfile', 'ca.key', '-cert', 'ca.crt', '-extfile', 'extensions']
    const ca = [
      'ca',
      '-batch',
      '-notext',
      '-preserveDN',
      '-config',
      'config',
      '-md',
      hash,
      ...issuer,
      ...dates,
    ]
    this.#run(...ca, '-in', request, '-out', out)
    return { cert: this.#read(out), key: pem }
  }

  /** Issues with `openssl x509`, which can do what `openssl ca` cannot: odd serials, and version 1 without extensions. */
  issueOdd({ serial, plain = false }: { serial: string; plain?: boolean }): Pem {
    const key = keyOf('P-256')
    const { request, out } = this.#request(key, '/CN=back end')
    const san = `2.5.29.17 = DER:${hexOf(namesDer([['uri', urn('swift-crane')]]))}`
    this.#write('extensions', `${san}\nextendedKeyUsage = clientAuth\n`)
    const issuer = ['-CA', 'ca.crt', '-CAkey', 'ca.key', '-set_serial', serial, '-days', '9']
    const extensions = plain ? [] : ['-extfile', 'extensions']
    this.#run('x509', '-req', '-in', request, '-out', out, ...issuer, ...extensions)
    return { cert: this.#read(out), key }
  }

  /** Issues a CA below this one. */
  issueCa(subject: string): TestCa {
    const key = printKey(keyMakers['P-256']())
    const extensions = {
      ...{ basicConstraints: 'critical,CA:TRUE', keyUsage: 'critical,keyCertSign,cRLSign' },
      extendedKeyUsage: '',
    }
    const { cert } = this.issue({ key: { pem: key }, subject, names: 'none', extensions })
    return new TestCa(this.#folder, { cert, key })
  }

  /**
   * A list that names these, PEM.
   * @param times Unix ms; by default from now for a day
   */
  list(revoked: readonly Pem[], times: { fromMs?: number; toMs?: number } = {}): string {
    const { fromMs = Date.now(), toMs = Date.now() + 24 * hourMs } = times
    const rows = revoked.map(({ cert }) => {
      const { serialNumber } = new X509Certificate(cert)
      const at = printTime(fromMs).slice(2)
      return `R\t${printTime(Date.now() + 9 * 24 * hourMs).slice(2)}\t${at}\t${serialNumber}\tunknown\t/CN=revoked\n`
    })
    this.#write('index', rows.join(''))
    this.#write('crlnumber', `${(++this.#count + 0x1000).toString(16)}\n`)
    const dates = ['-crl_lastupdate', printTime(fromMs), '-crl_nextupdate', printTime(toMs)]
    const issuer = ['-keyfile', 'ca.key', '-cert', 'ca.crt', '-md', 'sha256']
    this.#write('config', config.replace('policy = any', 'policy = any\ncrlnumber = crlnumber'))
    this.#run('ca', '-gencrl', '-config', 'config', ...issuer, ...dates, '-out', 'list')
    this.#write('index', '')
    return this.#read('list')
  }

  #request(key: string, subject: string) {
    const [request, out] = [`${++this.#count}.csr`, `${this.#count}.crt`] as const
    this.#write('key', key)
    this.#run('req', '-new', '-key', 'key', '-subj', subject, '-config', 'config', '-out', request)
    return { request, out }
  }

  #run(...args: string[]): string {
    return execFileSync('openssl', args, { cwd: this.#folder, encoding: 'utf8', stdio: 'pipe' })
  }

  #write(name: string, text: string): void {
    writeFileSync(join(this.#folder, name), text, { mode: 0o600 })
  }

  #read(name: string): string {
    return readFileSync(join(this.#folder, name), 'utf8')
  }
}

/** A certificate that only its own key vouches for. */
export function signItself(
  root: string,
  { subject, names }: { subject: string; names: readonly Name[] },
): Pem {
  const folder = mkdtempSync(join(root, 'self-'))
  const file = (name: string) => join(folder, name)
  const key = keyOf('P-256')
  writeFileSync(file('key'), key)
  writeFileSync(file('config'), config)
  const extensions = [
    'extendedKeyUsage=clientAuth',
    `2.5.29.17=DER:${hexOf(namesDer(names))}`,
    'authorityKeyIdentifier=none',
  ]
  return { cert: selfSign(file, { subject, extensions }), key }
}

/** The same with one byte of the DER changed, counted from the end if negative. */
export function altered({ cert, key }: Pem, at: number): Pem {
  const der = Buffer.from(new X509Certificate(cert).raw)
  const index = at < 0 ? der.length + at : at
  der.writeUInt8(der.readUInt8(index) ^ 1, index)
  const lines = der.toString('base64').match(/.{1,64}/g) ?? []
  return { cert: ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n'), key }
}

export const chained = (leaf: Pem, ...above: { cert: string }[]): Pem => ({
  cert: [leaf, ...above].map(({ cert }) => cert).join(''),
  key: leaf.key,
})

/** A certificate for nine days by its own key; `key` and `config` are files already. */
function selfSign(
  file: (name: string) => string,
  { subject, extensions }: { subject: string; extensions: readonly string[] },
): string {
  const args = [
    'req',
    '-x509',
    '-key',
    file('key'),
    '-subj',
    subject,
    '-days',
    '9',
    '-config',
    file('config'),
  ]
  const added = extensions.flatMap((one) => ['-addext', one])
  return execFileSync('openssl', [...args, ...added], { encoding: 'utf8' })
}
