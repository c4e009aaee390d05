// Checkpoints: the specification's example, every altered one refused, and witnesses counted by their keys.
import { generateKeyPairSync } from 'node:crypto'
import fc from 'fast-check'
import t from 'tap'
import {
  countWitnesses,
  openCheckpoint,
  parseCheckpoint,
  printCheckpoint,
} from '../../src/ledger/checkpoint.ts'
import {
  checkNote,
  cosignNote,
  keyType,
  parseVkey,
  printNote,
  printVkey,
  type Signed,
  signNote,
  type Vkey,
} from '../../src/ledger/note.ts'
import { emptyRoot } from '../../src/ledger/range.ts'

const example = 'example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n'
const root = Buffer.from('CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=', 'base64')

t.test('the example of the specification is read and printed', (t) => {
  const checkpoint = { origin: 'example.com/behind-the-sofa', size: 20_852_163, root }
  t.same(parseCheckpoint(example), checkpoint)
  t.equal(printCheckpoint(checkpoint), example)
  t.equal(
    printCheckpoint({ origin: 'a', size: 0, root: emptyRoot }),
    'a\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n',
  )
  t.end()
})

t.test('every checkpoint is read back', (t) => {
  const origin = fc.string({
    unit: fc.constantFrom('a', '.', '/', ' ', '+', '云'),
    minLength: 1,
    maxLength: 8,
  })
  const hash = fc.uint8Array({ minLength: 32, maxLength: 32 })
  fc.assert(
    fc.property(origin, fc.maxSafeNat(), hash, (origin, size, bytes) => {
      const parsed = parseCheckpoint(printCheckpoint({ origin, size, root: Buffer.from(bytes) }))
      return parsed?.origin === origin && parsed.size === size && parsed.root.equals(bytes)
    }),
  )
  t.pass('the same')
  t.end()
})

t.test('every truncation is refused, and every flipped bit is refused or is another checkpoint', (t) => {
  const bytes = Buffer.from(example)
  for (let end = 0; end < bytes.length; end++) {
    if (parseCheckpoint(example.slice(0, end))) t.fail(`cut to ${end}`)
  }
  for (let bit = 0; bit < bytes.length * 8; bit++) {
    const altered = Buffer.from(bytes)
    altered[bit >> 3] = altered.readUInt8(bit >> 3) ^ (1 << (bit & 7))
    const text = altered.toString('latin1')
    const parsed = parseCheckpoint(text)
    if (parsed && printCheckpoint(parsed) !== text) t.fail(`bit ${bit} is read but not as written`)
  }
  t.pass('refused')
  t.end()
})

t.test('what is no checkpoint is refused', (t) => {
  const [origin, size, hash] = example.split('\n') as [string, string, string]
  const wrong: [string, string][] = [
    ['an extension line', `${example}more\n`],
    ['an empty line', `${example}\n`],
    ['no origin', `\n${size}\n${hash}\n`],
    ['a control character', `a\u0001\n${size}\n${hash}\n`],
    ['a leading zero', `${origin}\n0${size}\n${hash}\n`],
    ['a sign', `${origin}\n+${size}\n${hash}\n`],
    ['a negative size', `${origin}\n-1\n${hash}\n`],
    ['no size', `${origin}\n\n${hash}\n`],
    ['a size of 2^53', `${origin}\n9007199254740992\n${hash}\n`],
    ['a size of 2^64', `${origin}\n18446744073709551616\n${hash}\n`],
    ['a space', `${origin}\n${size} \n${hash}\n`],
    ['carriage returns', example.replaceAll('\n', '\r\n')],
    ['a short root', `${origin}\n${size}\n${Buffer.alloc(31).toString('base64')}\n`],
    ['a long root', `${origin}\n${size}\n${Buffer.alloc(33).toString('base64')}\n`],
    ['a root of another form', `${origin}\n${size}\n${hash.replace('2I=', '2J=')}\n`],
    ['a root without padding', `${origin}\n${size}\n${hash.replace('=', '')}\n`],
    ['a root in hex', `${origin}\n${size}\n${root.toString('hex')}\n`],
  ]
  for (const [name, text] of wrong) t.equal(parseCheckpoint(text), undefined, name)
  for (const bad of [-1, 0.5, 2 ** 53]) t.throws(() => printCheckpoint({ origin, size: bad, root }))
  t.throws(() => printCheckpoint({ origin: 'a\nb', size: 1, root }))
  t.throws(() => printCheckpoint({ origin: '', size: 1, root }))
  t.throws(() => printCheckpoint({ origin, size: 1, root: Buffer.alloc(31) }))
  t.end()
})

const keyOf = () => generateKeyPairSync('ed25519').privateKey
const vkeyOf = (name: string, key: ReturnType<typeof keyOf>, type: Vkey['type'] = keyType.ed25519) =>
  parseVkey(printVkey(name, key, type)) as Vkey

t.test('a log’s checkpoint opens with its key, under its own name alone', (t) => {
  const key = keyOf()
  const log = vkeyOf('example.com/behind-the-sofa', key)
  const printed = printNote({ text: example, signatures: [signNote(example, { name: log.name, key })] })
  t.same(openCheckpoint(printed, log), parseCheckpoint(example))
  t.equal(openCheckpoint(printed, vkeyOf(log.name, keyOf())), undefined, 'another key')
  t.equal(openCheckpoint(printed.replace('20852163', '20852164'), log), undefined, 'altered')
  const other = vkeyOf('example.com/other', key)
  const text = printNote({ text: example, signatures: [signNote(example, { name: other.name, key })] })
  t.equal(openCheckpoint(text, other), undefined, 'the origin of another log')
  const words = printNote({ text: 'words\n', signatures: [signNote('words\n', { name: log.name, key })] })
  t.equal(openCheckpoint(words, log), undefined, 'a note that is no checkpoint')
  t.equal(openCheckpoint('', log), undefined)
  t.end()
})

t.test('witnesses are counted by their keys, and a log is not its own witness', (t) => {
  const keys = [keyOf(), keyOf(), keyOf()] as const
  const log = vkeyOf('log', keys[0])
  const names = ['w1', 'w2', 'w2-again']
  const witnesses = [keys[1], keys[2], keys[2]].map((key, i) =>
    vkeyOf(names[i] as string, key, keyType.cosignature),
  )
  const cosign = (i: number, timeS: number) =>
    cosignNote(example, { name: names[i] as string, key: keys[i === 0 ? 1 : 2] }, timeS)
  const count = (signatures: ReturnType<typeof cosign>[], trusted = witnesses) => {
    const signed = checkNote({ text: example, signatures }, [log, ...trusted])
    return signed && countWitnesses(signed, trusted)
  }
  const own = signNote(example, { name: 'log', key: keys[0] })
  t.equal(count([own]), 0)
  t.equal(count([own, cosign(0, 1)]), 1)
  t.equal(count([own, cosign(0, 1), cosign(0, 2)]), 1, 'one twice')
  t.equal(count([own, cosign(0, 1), cosign(1, 1)]), 2)
  t.equal(count([own, cosign(1, 1), cosign(2, 1)]), 1, 'one key under two names')
  t.equal(count([own, cosign(0, 1), cosign(1, 1)], witnesses.slice(0, 1)), 1, 'one that nobody listed')
  t.equal(count([own], [log]), 0, 'the log listed as a witness')
  const strangers: Signed[] = [{ by: witnesses[1] as Vkey, timeS: 1 }]
  t.equal(countWitnesses(strangers, witnesses.slice(0, 1)), 0)
  t.end()
})
