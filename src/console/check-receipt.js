// Checks a receipt in a browser, offline, with WebCrypto alone: the twin of src/ledger/receipt.ts for those who
// would rather trust a page they can read. Plain JavaScript, no imports, no build step; written apart from the
// other on purpose, and tested to give the same verdict on whatever it is handed.
// Formats: c2sp.org/tlog-proof, tlog-checkpoint, signed-note, tlog-cosignature; PROTOCOL sections 1 and 9.

const header = 'c2sp.org/tlog-proof@v1'
const receiptCharsMax = 96 * 1024
const noteCharsMax = 64 * 1024
const signaturesMax = 64
const proofHashesMax = 53
const nameCharsMax = 255
const ed25519 = 1
const cosignature = 4
/** Lengths of an entry's fields 01 to 08. */
const entryLengths = [1, 1, 8, 32, 1, 32, 32, 32]
const verifyTags = [1, 2, 3, 4, 5, 6, 7, 8]
const undecidedTags = [1, 2, 3, 4, 5, 6, 8]
const actTags = [1, 2, 3, 9]
const answers = ['', 'yes', 'no', 'undecided']

/** What ends a check before its end: the verdict. */
class Ended extends Error {
  constructor(state, why) {
    super(why)
    this.verdict = { state, why }
  }
}
const demandForm = (condition, why) => {
  if (!condition) throw new Ended('unreadable', why)
}
const demandTruth = (condition, why) => {
  if (!condition) throw new Ended('false', why)
}

const utf8 = (text) => new TextEncoder().encode(text)
const ascii = (bytes) => String.fromCharCode(...bytes)
const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
const isSame = (a, b) => a.length === b.length && a.every((byte, i) => byte === b[i])

function join(...parts) {
  const out = new Uint8Array(parts.reduce((size, part) => size + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

const sha256 = async (...parts) => new Uint8Array(await crypto.subtle.digest('SHA-256', join(...parts)))

/** Bytes of padded base64 in its one form; undefined for anything else. */
function parseBase64(text) {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined
  const binary = atob(text)
  return btoa(binary) === text ? Uint8Array.from(binary, (c) => c.charCodeAt(0)) : undefined
}

/** A decimal in its one form that is a safe integer; NaN for anything else. */
function parseDecimal(text) {
  const value = /^(0|[1-9][0-9]{0,15})$/.test(text) ? Number(text) : Number.NaN
  return Number.isSafeInteger(value) ? value : Number.NaN
}

/** A u64 that is a safe integer; NaN for a greater one. */
function readU64(bytes) {
  const value = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0)
  return value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : Number.NaN
}

/** Values by tag of a T2L message with exactly these tags; undefined for anything else. */
function parseT2l(bytes, tags) {
  const values = {}
  let rest = bytes
  for (const tag of tags) {
    if (rest.length < 3 || rest[0] !== tag) return undefined
    const length = rest[1] * 256 + rest[2]
    if (rest.length < 3 + length) return undefined
    values[tag] = rest.subarray(3, 3 + length)
    rest = rest.subarray(3 + length)
  }
  return rest.length === 0 ? values : undefined
}

const domain = (purpose) => utf8(`vouchsafe/${purpose}/v1\0`)

/** Leaf data: the fields of an entry that somebody asked for; ends the check for any other. */
function parseEntry(data) {
  const prefix = domain('entry')
  demandForm(isSame(data.subarray(0, prefix.length), prefix), 'entry')
  const body = data.subarray(prefix.length)
  const type = body[7]
  demandForm(type >= 1 && type <= 9, 'entry')
  const fields = parseT2l(body, type === 1 ? verifyTags : type === 2 ? undecidedTags : actTags)
  demandForm(fields, 'entry')
  for (const [tag, value] of Object.entries(fields)) {
    demandForm(value.length === (entryLengths[tag - 1] ?? 32), 'entry')
  }
  const timeMs = readU64(fields[3])
  demandForm(fields[1][0] === 1 && !Number.isNaN(timeMs), 'entry')
  demandForm(type <= 2, 'act')
  const answer = fields[5][0]
  demandForm(type === 1 ? answer === 1 || answer === 2 : answer === 3, 'entry')
  return { timeMs, answer, who: fields[4], jtiHash: fields[7] }
}

/** The opening of who. */
function parseWho(opening) {
  const fields = parseT2l(opening, [1, 2, 3, 4, 5, 6, 7])
  demandForm(fields, 'who')
  const { 1: carrier, 2: outlet, 3: device, 4: courier, 5: parcel, 6: jti, 7: blind } = fields
  demandForm([device, courier, jti, blind].every((id) => id.length === 16) && parcel.length === 32, 'who')
  demandForm(/^[a-z0-9-]{2,32}$/.test(ascii(carrier)) && /^[A-Za-z0-9-]{1,32}$/.test(ascii(outlet)), 'who')
  return { carrier: ascii(carrier), outlet: ascii(outlet), device, courier, parcel, jti }
}

const isControl = (char) => char < ' ' && char !== '\n'
const isLines = (text) => text.isWellFormed() && !Array.from(text).some(isControl)
const isName = (name) => name.length <= nameCharsMax && /^[^\p{White_Space}+]+$/u.test(name) && isLines(name)

/** Text and signatures of a note. */
function parseNote(printed) {
  demandForm(printed.length <= noteCharsMax && isLines(printed), 'checkpoint')
  const end = printed.lastIndexOf('\n\n') + 1
  demandForm(end > 0 && printed.endsWith('\n'), 'checkpoint')
  const lines = printed.slice(end + 1, -1).split('\n')
  demandForm(end + 1 < printed.length && lines.length <= signaturesMax, 'checkpoint')
  const signatures = lines.map((line) => {
    const [dash, name, base64, ...more] = line.split(' ')
    demandForm(dash === '\u2014' && base64 && more.length === 0 && isName(name), 'checkpoint')
    const bytes = parseBase64(base64)
    demandForm(bytes?.length > 4, 'checkpoint')
    return { name, id: hex(bytes.subarray(0, 4)), bytes: bytes.subarray(4) }
  })
  return { text: printed.slice(0, end), signatures }
}

function parseCheckpoint(text) {
  const lines = text.split('\n')
  demandForm(lines.length === 4 && lines[0] !== '' && lines[3] === '', 'checkpoint')
  const [origin, sizeText, rootText] = lines
  const size = parseDecimal(sizeText)
  const root = parseBase64(rootText)
  demandForm(!Number.isNaN(size) && root?.length === 32, 'checkpoint')
  return { origin, size, root }
}

/** The parts of a receipt, none of them checked yet. */
function parseReceipt(text) {
  demandForm(text.length <= receiptCharsMax && text.includes('\n\n'), 'form')
  const end = text.indexOf('\n\n')
  const [first, extraLine = '', indexLine = '', ...hashLines] = text.slice(0, end).split('\n')
  demandForm(first === header && extraLine.startsWith('extra ') && indexLine.startsWith('index '), 'form')
  const index = parseDecimal(indexLine.slice(6))
  const proof = hashLines.length <= proofHashesMax ? hashLines.map(parseBase64) : [undefined]
  demandForm(!Number.isNaN(index) && proof.every((hash) => hash?.length === 32), 'form')
  const extra = parseBase64(extraLine.slice(6))
  const fields = extra && parseT2l(extra, [1, 2])
  demandForm(fields, 'extra')
  const { 1: data, 2: opening } = fields
  const entry = parseEntry(data)
  const who = parseWho(opening)
  const note = parseNote(text.slice(end + 2))
  return { index, proof, data, opening, entry, who, note, checkpoint: parseCheckpoint(note.text) }
}

/** Whether the siblings join the leaf to the root (RFC 6962 section 2.1.1, from the root down). */
async function isIncluded({ index, size, leaf, root, proof }) {
  if (index >= size) return false
  const sides = []
  let [at, count] = [index, size]
  while (count > 1) {
    let left = 1
    while (left * 2 < count) left *= 2
    const isLeft = at < left
    sides.unshift(isLeft)
    at -= isLeft ? 0 : left
    count = isLeft ? left : count - left
  }
  if (proof.length !== sides.length) return false
  let hash = leaf
  for (const [i, isLeft] of sides.entries()) {
    hash = await sha256(Uint8Array.of(1), ...(isLeft ? [hash, proof[i]] : [proof[i], hash]))
  }
  return isSame(hash, root)
}

/** A key that may sign: `<name>+<id>+<base64 of type and key>`. */
async function parseVkey(text, type) {
  const match = /^([^+]+)\+([0-9a-f]{8})\+(.+)$/.exec(text)
  const typed = match && parseBase64(match[3])
  const isRight = typed?.length === 33 && typed[0] === type && isName(match[1])
  const id = isRight && hex((await sha256(utf8(`${match[1]}\n`), typed)).subarray(0, 4))
  if (!isRight || id !== match[2]) throw new RangeError(`a key is not a vkey of type ${type}`)
  const raw = typed.subarray(1)
  const key = await crypto.subtle.importKey('raw', raw, 'Ed25519', false, ['verify'])
  return { name: match[1], id, type, raw: hex(raw), key }
}

async function isSigned(text, { type, key }, bytes) {
  const timed = type === cosignature
  if (bytes.length !== (timed ? 72 : 64)) return false
  const timeS = timed ? readU64(bytes) : 0
  const signed = timed ? `cosignature/v1\ntime ${timeS}\n${text}` : text
  return !Number.isNaN(timeS) && crypto.subtle.verify('Ed25519', key, bytes.subarray(-64), utf8(signed))
}

/** The keys whose signatures are there and right; undefined if one of a known key is wrong. */
async function signersOf({ text, signatures }, keys) {
  const signers = []
  for (const { name, id, bytes } of signatures) {
    const by = keys.find((key) => key.name === name && key.id === id)
    if (!by) continue
    if (!(await isSigned(text, by, bytes))) return undefined
    signers.push(by)
  }
  return signers
}

async function readTrust({ ledger, witnesses = [], quorum = 0 }) {
  const log = await parseVkey(ledger, ed25519)
  const others = await Promise.all(witnesses.map((text) => parseVkey(text, cosignature)))
  if (!Number.isSafeInteger(quorum) || quorum < 0 || quorum > others.length) {
    throw new RangeError('the quorum is not a number from 0 to that of the witnesses')
  }
  return { log, others, quorum }
}

async function check(text, { log, others, quorum }) {
  const { index, proof, data, opening, entry, who, note, checkpoint } = parseReceipt(text)
  demandTruth(isSame(await sha256(domain('who'), opening), entry.who), 'who')
  const jti = entry.jtiHash ? await sha256(who.jti) : who.jti
  demandTruth(isSame(jti, entry.jtiHash ?? new Uint8Array(16)), 'jti')
  const { origin, size, root } = checkpoint
  const leaf = await sha256(Uint8Array.of(0), data)
  demandTruth(await isIncluded({ index, size, leaf, root, proof }), 'inclusion')
  demandTruth(origin === log.name, 'origin')
  const signers = await signersOf(note, [log, ...others])
  demandTruth(signers?.includes(log), 'signature')
  const witnesses = new Set(signers.filter((by) => others.includes(by)).map((by) => by.raw)).size
  demandTruth(witnesses >= quorum, 'quorum')
  const answer = answers[entry.answer]
  return { state: 'true', ...who, answer, timeMs: entry.timeMs, index, size, leaf, witnesses }
}

/**
 * Checks a receipt with nothing but the keys one trusts.
 * @param {string} text the receipt
 * @param {{ledger: string, witnesses?: string[], quorum?: number}} trust vkeys, and how many witnesses must sign
 * @returns {Promise<object>} `{state: 'true', ...what it says}`, `{state: 'false', why}` or
 *   `{state: 'unreadable', why}`, as `checkReceipt` of src/ledger/receipt.ts; bytes as Uint8Array
 * @throws {RangeError} if a vkey or the quorum is not one
 */
export async function checkReceipt(text, trust) {
  const keys = await readTrust(trust)
  try {
    return await check(text, keys)
  } catch (error) {
    if (error instanceof Ended) return error.verdict
    throw error
  }
}
