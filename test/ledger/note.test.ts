// Notes: the specification's example, Go's, a real checkpoint with a real witness, then everything that is no
// note or not signed.
import { createHash, createPrivateKey, generateKeyPairSync, type KeyObject, verify } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  checkNote,
  cosignNote,
  isSameKey,
  keyType,
  type Note,
  parseNote,
  parseVkey,
  printNote,
  printVkey,
  signNote,
  type Vkey,
} from '../../src/ledger/note.ts'

const vkey = (text: string) => parseVkey(text) as Vkey
const note = (text: string) => parseNote(text) as Note
/** An Ed25519 private key from its seed (RFC 8410 section 7). */
const keyOf = (seed: Buffer): KeyObject =>
  createPrivateKey({
    key: Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]),
    format: 'der',
    type: 'pkcs8',
  })

const spec = {
  vkey: 'example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k',
  note:
    'This is an example message.\n\n' +
    '— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n',
}
/** From the documentation and tests of golang.org/x/mod/sumdb/note. */
const go = {
  vkey: 'PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW',
  seed: Buffer.from('AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz', 'base64').subarray(1),
  other: 'EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop',
  text: "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n",
  signature:
    '— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n',
  otherSignature:
    '— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n',
}
/** A checkpoint of a Certificate Transparency log with cosignatures of public witnesses, as it was served. */
const real = {
  log: 'arche2025h1.staging.ct.transparency.dev+ba2f06c0+AU0vHmlGCS/PdN8b2OaGmKprLI8HKM+dJ472xgFYh15f',
  witness: 'remora.n621.de+da77ade7+BOvN63jn/bLvkieywe8R6UYAtVtNbZpXh34x7onlmtw2',
  note: `arche2025h1.staging.ct.transparency.dev
1432088532
U7WM79jrzyhGZ5/GUBTpM7NzwdyfFx61t3RovgcC4Ro=

— arche2025h1.staging.ct.transparency.dev zTM8sQAAAZ5W0WdjBAMARjBEAiBjW5IQf9pvsYLfQFX6hoGREPMHbdQ3urbllzalApkptQIgIpwtEroeW2BXaHAI4kJXFbon5Ch9MNL5zRNZ55lvGt0=
— arche2025h1.staging.ct.transparency.dev ui8GwCF1+kWqZrxGdhj4aX3gcw7XUlXQQabg/27lefwhUkzbC3NygNI75MdhL1bfTW9g8Ei59RA23oHP7Ry1k3ZFWwQ=
— transparency.dev/DEV:witness-little-garden 2AQqhwAAAABqEiEgzgFIqqhbUoDwjMWE6UP8nd8/KYTzwZ2rhIgcqoXHAwVkjZr4AscylP3v7sEodkRAErumC2q44vdgJY096st5BQ==
— remora.n621.de 2net5wAAAABqEiEgPlfF3V06o0Y+fHM+J5J9s27wgxxcOVSpZ/2g/KSiXCg9DEZI+aVCIobWX9sXTynk5XeU/zZ0WBxtqB0DrAWfBw==
`,
}

t.test('the example of the specification is read and right', (t) => {
  const signed = checkNote(note(spec.note), [vkey(spec.vkey)])
  t.equal(note(spec.note).text, 'This is an example message.\n')
  t.equal(signed?.length, 1)
  t.equal(signed?.[0]?.by.name, 'example.com/foo')
  t.equal(printNote(note(spec.note)), spec.note)
  t.end()
})

t.test('we sign as Go does, byte for byte', (t) => {
  const key = keyOf(go.seed)
  t.equal(printVkey('PeterNeumann', key), go.vkey)
  const signature = signNote(go.text, { name: 'PeterNeumann', key })
  t.equal(printNote({ text: go.text, signatures: [signature] }), `${go.text}\n${go.signature}`)
  const both = `${go.text}\n${go.signature}${go.otherSignature}`
  const keys = [vkey(go.other), vkey(go.vkey)]
  t.same(
    checkNote(note(both), keys)?.map(({ by }) => by.name),
    ['PeterNeumann', 'EnochRoot'],
  )
  t.end()
})

t.test('a real checkpoint is signed by its log and a real witness, with its time', (t) => {
  const [log, witness] = [vkey(real.log), vkey(real.witness)]
  t.equal(log.type, keyType.ed25519)
  t.equal(witness.type, keyType.cosignature)
  t.same(checkNote(note(real.note), [witness, log]), [{ by: log }, { by: witness, timeS: 0x6a122120 }])
  t.equal(printNote(note(real.note)), real.note)
  const other = real.note.replace('\n1432088532\n', '\n1432088533\n')
  t.equal(checkNote(note(other), [log]), undefined)
  t.equal(checkNote(note(other), [witness]), undefined)
  t.end()
})

t.test('vkeys are printed from either half of a key, and read back', (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const text = printVkey('vouchsafe.example/ledger', privateKey)
  t.equal(printVkey('vouchsafe.example/ledger', publicKey), text)
  const witness = printVkey('w', publicKey, keyType.cosignature)
  for (const printed of [text, witness, spec.vkey, go.vkey, go.other, real.log, real.witness]) {
    const { name, key, type } = vkey(printed)
    t.equal(printVkey(name, key, type), printed)
  }
  t.ok(isSameKey(vkey(text), vkey(witness)))
  t.notOk(isSameKey(vkey(text), vkey(go.vkey)))
  t.throws(() => printVkey('a b', publicKey))
  t.throws(() => printVkey('', publicKey))
  t.throws(() => printVkey('a', generateKeyPairSync('x25519').publicKey))
  t.end()
})

t.test('every truncation and every changed bit of a vkey is refused', (t) => {
  const bytes = Buffer.from(real.log)
  for (let end = 0; end < bytes.length; end++) {
    if (parseVkey(real.log.slice(0, end))) t.fail(`cut to ${end}`)
  }
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const altered = Buffer.from(bytes)
    altered[bit >> 3] = altered.readUInt8(bit >> 3) ^ (1 << (bit & 7))
    if (parseVkey(altered.toString('latin1'))) t.fail(`bit ${bit}`)
  }
  const [name, id, base64] = spec.vkey.split('+', 3) as [string, string, string]
  const wrong = [
    `${name}+${id.toUpperCase()}+${base64}`,
    `${name}+${id}+${base64}=`,
    `${name}+${id}+${base64}\n`,
    ` ${spec.vkey}`,
    `+${id}+${base64}`,
    `${name}+${id}`,
    `${name}++${base64}`,
    `${name}+0${id}+${base64}`,
    `${name}+${id}+`,
  ]
  for (const text of wrong) t.equal(parseVkey(text), undefined, text)
  for (const type of [0, 2, 3, 5, 6, 255]) {
    const typed = Buffer.concat([Buffer.of(type), Buffer.alloc(32, 7)])
    const own = createHash('sha256').update('a\n').update(typed).digest('hex').slice(0, 8)
    t.equal(parseVkey(`a+${own}+${typed.toString('base64')}`), undefined, `type ${type}`)
  }
  t.equal(parseVkey('x'.repeat(10_000_000)), undefined)
  t.end()
})

t.test('key names hold no space of any kind, no plus and no control character', (t) => {
  const { publicKey } = generateKeyPairSync('ed25519')
  for (const code of [0x20, 0x2b, 0x85, 0xa0, 0x1680, 0x2003, 0x2028, 0x3000, 0x00, 0x09, 0x0a, 0xd800]) {
    const name = `a${String.fromCharCode(code)}b`
    t.throws(() => printVkey(name, publicKey), `U+${code.toString(16)}`)
    t.equal(parseNote(`x\n\n— ${name} AAAAAAA=\n`), undefined)
  }
  t.ok(parseVkey(printVkey('云山/账本', publicKey)))
  t.ok(parseVkey(printVkey('a'.repeat(255), publicKey)))
  t.throws(() => printVkey('a'.repeat(256), publicKey))
  t.end()
})

t.test('signatures of strangers are passed over, but one of a known key must be right', (t) => {
  const key = vkey(go.vkey)
  const stranger = '— PeterNeumann AAAAAAAAAAA=\n— other x08goAAA\n'
  t.equal(checkNote(note(`${go.text}\n${stranger}${go.signature}`), [key])?.length, 1)
  t.equal(checkNote(note(`${go.text}\n${stranger}`), [key]), undefined, 'strangers alone')
  t.equal(checkNote(note(`${go.text}\n${go.signature}`), []), undefined, 'no key known')
  const [good] = note(`${go.text}\n${go.signature}`).signatures
  const bad = { name: 'PeterNeumann', bytes: Buffer.from(good?.bytes ?? []) }
  bad.bytes[10] = bad.bytes.readUInt8(10) ^ 1
  for (const signatures of [[bad], [good, bad], [bad, good]] as Note['signatures'][]) {
    t.equal(checkNote({ text: go.text, signatures }, [key]), undefined)
  }
  for (const length of [5, 67, 69, 76]) {
    const bytes = Buffer.concat([good?.bytes ?? Buffer.of(), Buffer.alloc(99)]).subarray(0, length)
    t.equal(checkNote({ text: go.text, signatures: [{ name: 'PeterNeumann', bytes }] }, [key]), undefined)
  }
  t.end()
})

t.test('a cosignature is over its time and never stands for the signature of a log', (t) => {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const signer = { name: 'witness.example', key: privateKey }
  const text = 'log\n1\nAA==\n'
  const timeS = 1_795_000_000
  const signature = cosignNote(text, signer, timeS)
  const signed = Buffer.from(`cosignature/v1\ntime ${timeS}\n${text}`)
  t.ok(verify(null, signed, publicKey, signature.bytes.subarray(12)))
  t.equal(signature.bytes.readBigUInt64BE(4), BigInt(timeS))
  const witness = vkey(printVkey(signer.name, privateKey, keyType.cosignature))
  const log = vkey(printVkey(signer.name, privateKey))
  t.same(checkNote({ text, signatures: [signature] }, [log, witness]), [{ by: witness, timeS }])
  t.equal(checkNote({ text, signatures: [signature] }, [log]), undefined, 'the type is part of the id')
  const later = Buffer.from(signature.bytes)
  later.writeBigUInt64BE(BigInt(timeS + 1), 4)
  const far = Buffer.from(signature.bytes)
  far.writeBigUInt64BE(2n ** 53n, 4)
  const cut = [75, 68, 12, 7, 5].map((length) => signature.bytes.subarray(0, length))
  for (const bytes of [later, far, ...cut]) {
    t.equal(checkNote({ text, signatures: [{ name: signer.name, bytes }] }, [witness]), undefined)
  }
  for (const edge of [0, 2 ** 53 - 1]) {
    t.same(checkNote({ text, signatures: [cosignNote(text, signer, edge)] }, [witness]), [
      { by: witness, timeS: edge },
    ])
  }
  for (const bad of [-1, 0.5, 2 ** 53]) t.throws(() => cosignNote(text, signer, bad))
  t.end()
})

t.test('a text with empty lines is divided from its signatures at the last one', (t) => {
  const text = 'one\n\ntwo\n\n\nthree\n'
  const { privateKey } = generateKeyPairSync('ed25519')
  const printed = printNote({ text, signatures: [signNote(text, { name: 'a', key: privateKey })] })
  t.equal(note(printed).text, text)
  t.ok(checkNote(note(printed), [vkey(printVkey('a', privateKey))]))
  t.end()
})

t.test('every truncation and every flipped bit of a note is refused, but in a stranger’s signature', (t) => {
  const keys = [vkey(go.vkey), vkey(go.other)]
  const printed = Buffer.from(`${go.text}\n${go.signature}${go.otherSignature}`)
  const isTrusted = (bytes: Buffer) => {
    const parsed = parseNote(bytes.toString())
    if (parsed && printNote(parsed) !== bytes.toString()) t.fail('read, but not as written')
    return parsed !== undefined && checkNote(parsed, keys)?.length === 2
  }
  t.ok(isTrusted(printed))
  for (let end = 0; end < printed.length; end++) {
    if (isTrusted(printed.subarray(0, end))) t.fail(`cut to ${end}`)
  }
  for (let bit = 0; bit < printed.length * 8; bit++) {
    const altered = Buffer.from(printed)
    altered[bit >> 3] = altered.readUInt8(bit >> 3) ^ (1 << (bit & 7))
    if (isTrusted(altered)) t.fail(`bit ${bit}`)
  }
  t.end()
})

t.test('what is no note is refused', (t) => {
  const line = '— a AAAAAAA=\n'
  t.ok(parseNote(`x\n\n${line}`))
  t.ok(parseNote(`x\n\n${line.repeat(64)}`))
  t.ok(parseNote(`${'x'.repeat(64 * 1024 - line.length - 2)}\n\n${line}`), 'of 64 KiB')
  t.notOk(parseNote(`${'x'.repeat(64 * 1024 - line.length - 1)}\n\n${line}`), 'and one more')
  const wrong: [string, string][] = [
    ['nothing', ''],
    ['no signature', 'x\n\n'],
    ['no empty line', `x\n${line}`],
    ['no text', line],
    ['an empty line and no text', `\n${line}`],
    ['no last newline', `x\n\n${line.trimEnd()}`],
    ['an empty line at the end', `x\n\n${line}\n`],
    ['a carriage return', `x\r\n\r\n${line}`],
    ['a tab', `x\ty\n\n${line}`],
    ['half a character', `x\ud800\n\n${line}`],
    ['a hyphen', 'x\n\n- a AAAAAAA=\n'],
    ['two spaces', 'x\n\n—  a AAAAAAA=\n'],
    ['a space at the end', 'x\n\n— a AAAAAAA= \n'],
    ['no name', 'x\n\n—  AAAAAAA=\n'],
    ['no signature bytes', 'x\n\n— a AAAAAA==\n'],
    ['base64 of two forms', 'x\n\n— a AAAAAAB=\n'],
    ['base64 without padding', 'x\n\n— a AAAAAAA\n'],
    ['base64url', 'x\n\n— a AAAAAA-_\n'],
    ['65 signatures', `x\n\n${line.repeat(65)}`],
    ['more than 64 KiB', `${'x'.repeat(64 * 1024)}\n\n${line}`],
  ]
  for (const [name, text] of wrong) t.equal(parseNote(text), undefined, name)
  const signatures = note(`x\n\n${line}`).signatures
  for (const text of ['', 'x', 'x\u0000\n', 'x\ud800\n']) {
    t.throws(() => printNote({ text, signatures }), JSON.stringify(text))
  }
  t.throws(() => printNote({ text: 'x\n', signatures: [] }))
  t.end()
})

t.test('any note that is read is printed alike', (t) => {
  const unit = fc.constantFrom('x', '\n', '—', ' ', 'a', 'AAAAAAA=', '\n\n— a AAAAAAA=\n', '+', '云')
  fc.assert(
    fc.property(fc.string({ unit, maxLength: 12 }), (text) => {
      const parsed = parseNote(text)
      return !parsed || printNote(parsed) === text
    }),
    { numRuns: 5000 },
  )
  t.pass('the same')
  t.end()
})
