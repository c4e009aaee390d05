// `vouchsafe receipt`: fetches receipts and checks them. Checking needs the receipt and a key: no database, no
// settings, no network, and nothing that a gateway needs is loaded for it.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { type ParseArgsConfig, parseArgs } from 'node:util'
import { parseBase64url, printBase64url } from '../base/bytes.ts'
import { parseJson } from '../base/json.ts'
import { isKeyName, parseVkey, printVkey } from '../base/vkey.ts'
import { checkReceipt, type ReceiptVerdict, type Statement } from '../sdk/receipt.ts'

const help = `vouchsafe receipt: proof that an answer is in the ledger, for a court or anyone else

  vouchsafe receipt get JTI --gateway https://localhost:9443 --ca certs/dev/gateway-ca.crt \\
                    --cert certs/dev/carrier-swift-crane.crt --key certs/dev/carrier-swift-crane.key \\
                    --out answer.receipt
  vouchsafe receipt verify answer.receipt --key certs/dev/ledger.pub --name localhost
  vouchsafe receipt verify answer.receipt --key ledger.vkey --token answer.jwt
  vouchsafe receipt verify answer.receipt --key ledger.vkey --witness w1.vkey --witness w2.vkey --quorum 1

get: JTI is the jti of an answer's token, or the token itself. Only the carrier that was given the token gets its
receipt. It waits some seconds for the checkpoint that proves the answer. Without --out the receipt is printed.
verify: works offline, in a folder with nothing but the receipt.
  --key      the ledger's key: its vkey (name+id+base64), a file with the vkey, or a PEM file beside --name.
             "npm start" prints the vkey of a gateway, and its directory (GET /v1/directory) has it as "ledger".
  --name     what the ledger is called, where --key is a PEM file: the host of VOUCHSAFE_ORIGIN.
  --token    the token, or a file with it: is it the one that this receipt was made for?
  --witness  vkey of a witness, or a file with it; --quorum of them must have signed (default: all that are named).
Exit code: 0 it is true, 1 it is false or was refused, 2 it cannot be read, 64 the command cannot be understood.`

const exit = { ok: 0, no: 1, unreadable: 2, usage: 64 } as const

const options = {
  help: { type: 'boolean' },
  gateway: { type: 'string' },
  ca: { type: 'string' },
  cert: { type: 'string' },
  key: { type: 'string' },
  out: { type: 'string' },
  name: { type: 'string' },
  token: { type: 'string' },
  witness: { type: 'string', multiple: true },
  quorum: { type: 'string' },
} as const satisfies ParseArgsConfig['options']

type Values = {
  [K in 'gateway' | 'ca' | 'cert' | 'key' | 'out' | 'name' | 'token' | 'quorum']?: string
} & { witness?: string[] }
type Print = { out(line: string): void; err(line: string): void }

class UsageError extends Error {}
class UnreadableError extends Error {}

/** @returns exit code, as the help says */
export async function runReceipt(args: string[], print: Print): Promise<number> {
  try {
    return await run(args, print)
  } catch (error) {
    if (error instanceof UnreadableError) {
      print.err(`Unreadable: ${error.message}`)
      return exit.unreadable
    }
    if (!(error instanceof UsageError)) throw error
    print.err(`${error.message} See "vouchsafe receipt --help".`)
    return exit.usage
  }
}

async function run(args: string[], print: Print): Promise<number> {
  // One id in 64 begins with "-", which parseArgs would take for an option.
  const [verb, first = ''] = args
  const isId = verb === 'get' && parseBase64url(first, jtiBytes) !== undefined
  const { values, positionals } = parseOptions(isId ? [verb, ...args.slice(2)] : args)
  const [, subject, ...more] = isId ? [verb, first, ...positionals.slice(1)] : positionals
  if (values.help) {
    print.out(help)
    return exit.ok
  }
  if (subject !== undefined && more.length === 0) {
    if (verb === 'get') return get(parseJti(subject), values, print)
    if (verb === 'verify') return verify(subject, values, print)
  }
  print.err(help)
  return exit.usage
}

function parseOptions(args: string[]) {
  try {
    return parseArgs({ args, allowPositionals: true, options })
  } catch (error) {
    if (error instanceof TypeError) throw new UsageError(error.message, { cause: error })
    throw error
  }
}

const jtiBytes = 16

function parseJti(text: string): string {
  const body = parseBase64url(text.split('.')[1] ?? '')?.toString() ?? ''
  const claims = parseJson(body)?.value as { jti?: unknown } | undefined
  const jti = typeof claims?.jti === 'string' ? claims.jti : text
  if (parseBase64url(jti, jtiBytes)) return jti
  throw new UsageError('JTI is neither 16 bytes as base64url (22 characters) nor a token that has one.')
}

async function get(jti: string, values: Values, print: Print): Promise<number> {
  const names = ['gateway', 'ca', 'cert', 'key'] as const
  const missing = names.filter((name) => values[name] === undefined)
  if (missing.length > 0) throw new UsageError(`Missing: ${missing.map((name) => `--${name}`).join(', ')}.`)
  const { gateway = '', ca = '', cert = '', key = '', out } = values
  if (!URL.canParse(gateway) || new URL(gateway).origin !== gateway.replace(/\/$/, '')) {
    throw new UsageError(`--gateway ${JSON.stringify(gateway)} is not an origin: give https://HOST:PORT.`)
  }
  const pem = { ca: readFor('--ca', ca), cert: readFor('--cert', cert), key: readFor('--key', key) }
  const { Carrier, Refused } = await import('../sdk/carrier.ts') // Its HTTP client is not needed to verify.
  const carrier = new Carrier({ url: gateway, ...pem })
  try {
    const receipt = await carrier.fetchReceipt(jti)
    if (out === undefined) print.out(receipt.trimEnd())
    else {
      writeFileSync(out, receipt)
      print.out(`${out}: check it with "vouchsafe receipt verify ${out} --key VKEY".`)
    }
    return exit.ok
  } catch (error) {
    if (error instanceof Refused) print.err(`${error.message} ${String(error.reply.body['title'] ?? '')}`)
    else print.err(`${gateway} could not be asked (${whyOf(error)}).`)
    return exit.no
  } finally {
    await carrier.close()
  }
}

const whyOf = (error: unknown) => (error instanceof Error ? error.message : String(error))

function readFor(option: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UsageError(`${option} ${file} cannot be read (${whyOf(error)}).`, { cause: error })
  }
}

/** A vkey as it stands, in a file, or as PEM beside a name. */
function readVkey(option: string, given: string, name?: string): string {
  if (parseVkey(given)) return given
  if (!existsSync(given)) {
    throw new UsageError(`${option} ${JSON.stringify(given)} is neither a vkey nor a file that is there.`)
  }
  const text = readFor(option, given).trim()
  if (parseVkey(text)) return text
  const key = readPublicKey(text)
  if (key?.asymmetricKeyType !== 'ed25519') {
    throw new UsageError(`${option} ${given} holds neither a vkey nor an Ed25519 key in PEM.`)
  }
  if (name === undefined) {
    throw new UsageError(`${option} ${given} is a PEM file: add --name, what the ledger is called.`)
  }
  if (!isKeyName(name)) throw new UsageError(`--name ${JSON.stringify(name)} is not a name of a ledger.`)
  return printVkey(name, key)
}

function readPublicKey(pem: string): KeyObject | undefined {
  try {
    return createPublicKey(pem)
  } catch {
    return undefined // Whatever it is, it is no key, and the caller says so.
  }
}

function parseQuorum(text: string | undefined, witnesses: number): number {
  const quorum = text === undefined ? witnesses : /^\d{1,3}$/.test(text) ? Number(text) : -1
  if (quorum >= 0 && quorum <= witnesses) return quorum
  throw new UsageError(
    `--quorum ${JSON.stringify(text)} is not a number from 0 to ${witnesses}, how often --witness is given.`,
  )
}

function readSubject(what: string, file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch (error) {
    throw new UnreadableError(`${what} ${file} cannot be read (${whyOf(error)}).`, { cause: error })
  }
}

/** A token has two dots and no white space; anything else is a file's name. */
const readToken = (given: string) =>
  /^[\w-]+\.[\w-]+\.[\w-]+$/.test(given) && !existsSync(given)
    ? given
    : readSubject('the token', given).trim()

function verify(file: string, values: Values, print: Print): number {
  if (values.key === undefined) throw new UsageError('--key is missing: give the vkey of the ledger.')
  const ledger = readVkey('--key', values.key, values.name)
  const witnesses = (values.witness ?? []).map((given) => readVkey('--witness', given))
  const trust = { ledger, witnesses, quorum: parseQuorum(values.quorum, witnesses.length) }
  const token = values.token === undefined ? {} : { token: readToken(values.token) }
  const text = readSubject('the receipt', file)
  const verdict = checkOrExplain(() => checkReceipt(text, { ...trust, ...token }))
  if (verdict.state === 'unreadable') throw new UnreadableError(`${unreadable[verdict.why]}.`)
  if (verdict.state === 'false') {
    print.out(`False: ${describeUntrue(verdict)}.`)
    return exit.no
  }
  const name = ledger.slice(0, ledger.indexOf('+'))
  for (const line of describe(verdict, { ...trust, name })) print.out(line)
  if (values.token !== undefined) print.out('The token says the same. Its own signature was not looked at.')
  return exit.ok
}

/** A key of the wrong type is the checker's own mistake. */
function checkOrExplain(check: () => ReceiptVerdict): ReceiptVerdict {
  try {
    return check()
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`Not accepted: ${error.message}.`, { cause: error })
    throw error
  }
}

function describe(
  statement: Statement,
  trust: { name: string; witnesses: readonly string[]; quorum: number },
): string[] {
  const { carrier, outlet, device, parcel, jti, answer, timeMs, index, size, leaf, witnesses } = statement
  const when = new Date(timeMs).toISOString().replace('T', ' ').replace('Z', ' UTC')
  const of = trust.witnesses.length
  return [
    'This receipt is true. It proves:',
    `  Carrier ${carrier} asked, at its outlet ${outlet}, with the device ${printBase64url(device)},`,
    `  about the parcel ${printBase64url(parcel)} (a commitment to its waybill).`,
    `  The answer was ${answer}, on ${when}.`,
    answer === 'undecided'
      ? '  No token was given.'
      : `  It was given as the token with the id ${printBase64url(jti)}.`,
    `  This is entry ${index}, counted from 0, in the ledger named ${trust.name}, signed when it had ${size} entries`,
    `  (leaf hash ${printBase64url(leaf)}).`,
    of === 0
      ? '  No witness was asked for: that all see the same ledger rests on the word of the ledger.'
      : `  ${witnesses} of ${of} witnesses signed that they saw this ledger and that it only ever grew.`,
    'It says nothing of whose card was read: the ledger knows no names.',
  ]
}

const unreadable: Record<Extract<ReceiptVerdict, { state: 'unreadable' }>['why'], string> = {
  form: 'this is not a receipt (c2sp.org/tlog-proof@v1), or it was cut or changed on its way',
  extra: 'the receipt has no entry and names in it',
  entry: 'the entry in it is of no form that there is',
  act: 'it is about an act of the operator, and nobody gets a receipt for those',
  who: 'the names in it are of no form that there is',
  checkpoint: 'the checkpoint in it is of no form that there is',
  token: 'the token is no JWT',
}

const untrue = {
  who: 'the entry was not made for the carrier, outlet, device and parcel that the receipt names',
  jti: 'the entry was not made for the token id that the receipt names',
  origin: 'it is from a ledger of another name',
  signature: 'the ledger did not sign it, or a signature of a named witness is wrong',
  inclusion: 'the entry is not in the ledger that its checkpoint describes',
  quorum: 'fewer of the named witnesses signed it than were asked for',
} as const

function describeUntrue(verdict: Extract<ReceiptVerdict, { state: 'false' }>): string {
  if (verdict.why !== 'token') return untrue[verdict.why]
  return `the receipt itself is true, but it is not that of this token: "${verdict.claim}" differs`
}
