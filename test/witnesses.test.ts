// Publication by k of n witnesses over HTTP on loopback: what is shown has the quorum, and what has none is not.
import t, { type Test } from 'tap'
import { ConfigError, readConfig } from '../src/base/config.ts'
import { openPoster } from '../src/base/http.ts'
import { countWitnesses } from '../src/ledger/checkpoint.ts'
import { checkNote, keyType, parseNote, parseVkey, printVkey, type Vkey } from '../src/ledger/note.ts'
import { emptyRoot } from '../src/ledger/range.ts'
import { publishWitnessed, readWitnesses } from '../src/witnesses.ts'
import { until } from './helpers/ledger.ts'
import { keyOf, ledgerVkey } from './helpers/receipts.ts'
import { ShownLedger } from './helpers/shown-ledger.ts'
import { TestWitness } from './helpers/witness.ts'

const names = ['one.example', 'two.example', 'three.example']

async function start(t: Test, { quorum, deadlineMs = 500 }: { quorum: number; deadlineMs?: number }) {
  const witnesses = names.map((name) => new TestWitness({ name, ledger: ledgerVkey }))
  const urls = await Promise.all(witnesses.map((witness) => witness.start()))
  const WITNESSES = witnesses.map(({ vkey }, i) => `${vkey} ${urls[i]}`).join(' ')
  const config = readConfig({ WITNESSES, WITNESS_QUORUM: String(quorum) })
  const ledger = new ShownLedger()
  const told: string[] = []
  const poster = openPoster({ deadlineMs, bytesMax: 4096 })
  const follow = () =>
    publishWitnessed({
      ledger,
      witnesses: readWitnesses(config, keyOf('ledger')),
      quorum: config.WITNESS_QUORUM,
      postText: poster.postText,
      onChange: (name, fault) => told.push(`${name} ${fault?.reason ?? 'well'}`),
    })
  let publisher = follow()
  t.teardown(async () => {
    await Promise.all(witnesses.map((witness) => witness.stop()))
    await publisher.close()
    await poster.close()
  })
  const restart = async () => {
    await publisher.close()
    publisher = follow()
  }
  const shown = (size: number, ms?: number) => until(() => ledger.checkpoint().size === size, ms)
  const keys = witnesses.map(({ vkey }) => parseVkey(vkey) as Vkey)
  const log = parseVkey(ledgerVkey) as Vkey
  /** How many of the witnesses signed what is shown; -1 if the ledger did not, or a signature is wrong. */
  const signers = () => {
    const note = parseNote(ledger.checkpoint().note)
    const signed = note && checkNote(note, [log, ...keys])
    return signed?.some(({ by }) => by === log) ? countWitnesses(signed, keys) : -1
  }
  const sign = (count: number) => ledger.fill(count).sign()
  return {
    ledger,
    witnesses: witnesses as [TestWitness, TestWitness, TestWitness],
    told,
    restart,
    shown,
    signers,
    sign,
  }
}

t.test('with all well, every checkpoint is shown with all signatures', async (t) => {
  const { shown, signers, sign, told, witnesses } = await start(t, { quorum: 2 })
  let size = 0
  for (const count of [1, 4, 300]) {
    sign(count)
    size += count
    await shown(size)
    t.equal(signers(), 3)
  }
  t.same(told, [])
  t.same(
    witnesses.map(({ asked }) => asked.length),
    [3, 3, 3],
    'each was asked once about each',
  )
})

t.test('one is down: the others are enough, it is told once, and told when it is back', async (t) => {
  const { shown, signers, sign, told, witnesses } = await start(t, { quorum: 2 })
  witnesses[1].mode = 'down'
  sign(3)
  await shown(3)
  sign(3)
  await shown(6)
  t.equal(signers(), 2)
  t.same(told, ['two.example unreachable'])
  witnesses[1].mode = 'well'
  sign(3)
  await shown(9)
  t.equal(signers(), 3, 'it was asked from the size that it had')
  t.same(told, ['two.example unreachable', 'two.example well'])
})

t.test('one hangs: what the others sign is shown without waiting for it', async (t) => {
  const { shown, signers, sign, told, witnesses } = await start(t, { quorum: 2, deadlineMs: 800 })
  witnesses[0].mode = 'hung'
  const begun = performance.now()
  sign(3)
  await shown(3)
  sign(3)
  await shown(6)
  t.ok(performance.now() - begun < 750, 'before its deadline')
  t.equal(signers(), 2)
  await until(() => told.length > 0)
  t.same(told, ['one.example unreachable'])
})

t.test('a liar and a babbler count for nothing, and their lines are not shown', async (t) => {
  const { ledger, shown, signers, sign, told, witnesses } = await start(t, { quorum: 1 })
  witnesses[0].mode = 'lying'
  witnesses[1].mode = 'junk'
  sign(3)
  await shown(3)
  t.equal(signers(), 1)
  t.equal(ledger.checkpoint().note.match(/^\u2014 /gm)?.length, 2, 'ours and the one that is right')
  t.same(told.sort(), ['one.example untrue', 'two.example malformed'])
})

t.test(
  'without the quorum nothing is shown, and once it is there the newest is, without a new entry',
  async (t) => {
    const { ledger, shown, signers, sign, witnesses } = await start(t, { quorum: 2 })
    sign(3)
    await shown(3)
    witnesses[0].mode = 'down'
    witnesses[1].mode = 'lying'
    sign(3)
    sign(3)
    await until(() => witnesses[2].seen.size === 6 || witnesses[2].seen.size === 9)
    await new Promise((resolve) => setTimeout(resolve, 100))
    t.equal(ledger.checkpoint().size, 3)
    witnesses[0].mode = 'well'
    await shown(9)
    t.equal(signers(), 2)
  },
)

t.test('witnesses that have seen another ledger stop publication', async (t) => {
  const { ledger, sign, told, witnesses } = await start(t, { quorum: 2 })
  for (const witness of witnesses.slice(0, 2)) witness.seen = { size: 2, root: Buffer.alloc(32, 1) }
  sign(5)
  await until(() => told.length === 2)
  t.same(told.sort(), ['one.example refused', 'two.example refused'])
  await new Promise((resolve) => setTimeout(resolve, 50))
  t.same(ledger.published, [])
})

t.test(
  'after a restart the witnesses say from where to go on, and what was left unpublished is published',
  async (t) => {
    const { shown, signers, sign, told, restart, witnesses } = await start(t, { quorum: 3 })
    sign(4)
    await shown(4)
    witnesses[2].mode = 'down'
    sign(3)
    await until(() => witnesses[0].seen.size === 7 && witnesses[1].seen.size === 7)
    witnesses[2].mode = 'well'
    for (const { asked } of witnesses) asked.length = 0
    await restart()
    await shown(7)
    t.equal(signers(), 3)
    t.same(
      witnesses.map(({ asked }) => asked.slice(-2).map((body) => body.split('\n', 1)[0])),
      [
        ['old 0', 'old 7'],
        ['old 0', 'old 7'],
        ['old 0', 'old 4'],
      ],
    )
    t.notOk(told.some((line) => /conflict|refused|untrue/.test(line)))
  },
)

t.test('a witness that was set back is asked from where it is', async (t) => {
  const { shown, signers, sign, witnesses } = await start(t, { quorum: 3 })
  sign(4)
  await shown(4)
  witnesses[0].seen = { size: 0, root: emptyRoot }
  sign(4)
  await shown(8)
  t.equal(signers(), 3)
})

t.test('the configuration: pairs of key and URL, and every fault told', (t) => {
  const vkeys = names.map((name) => printVkey(name, keyOf(name), keyType.cosignature))
  const [one, two] = vkeys as [string, string, string]
  const url = 'https://witness.example'
  const read = (WITNESSES: string, WITNESS_QUORUM = '1') => {
    try {
      return readConfig({ WITNESSES, WITNESS_QUORUM }).WITNESSES
    } catch (error) {
      return error instanceof ConfigError ? error.faults.join('\n') : 'thrown'
    }
  }
  t.same(read(` ${one}  ${url}\n${two} http://127.0.0.1:1/a,b=c+d/ `), [
    { vkey: one, url },
    { vkey: two, url: 'http://127.0.0.1:1/a,b=c+d/' },
  ])
  t.same(read('', '0'), [])
  const malformed = [
    one,
    url,
    `${url} ${one}`,
    `${one}=${url}`,
    `${one},${url}`,
    `${one} ${url} ${two}`,
    `${one} ftp://witness.example`,
    `${one} ${url}/?a=b`,
    `${one} ${url}#x`,
    `${one} https://user:secret@witness.example`,
    `${ledgerVkey} ${url}`,
    `${one.replace('one', 'two')} ${url}`,
  ]
  for (const text of malformed)
    t.match(read(text), /^WITNESSES = .* is not accepted\. Fix: set it to pairs/, text)
  t.match(read(`${one} ${url} ${two} ${url}`), /two\.example has the URL of one\.example/)
  t.match(read(`${one} ${url} ${one} ${url}/2`), /one\.example has the key of one\.example/)
  const alias = printVkey('alias.example', keyOf('one.example'), keyType.cosignature)
  t.match(read(`${one} ${url} ${alias} ${url}/2`), /alias\.example has the key of one\.example/)
  t.match(read(`${one} ${url}`, '2'), /WITNESS_QUORUM = 2 of 1 in WITNESSES: no checkpoint would ever/)
  t.match(read('', '1'), /WITNESS_QUORUM = 1 of 0/)
  t.match(read(`${one} ${url}`, '0'), /nobody would wait for them/)
  t.match(read(`${one} ${url}`, 'x'), /^WITNESS_QUORUM = "x"/)
  const own = printVkey('mine.example', keyOf('ledger'), keyType.cosignature)
  const config = readConfig({ WITNESSES: `${own} ${url}`, WITNESS_QUORUM: '1' })
  const faultsOf = () => {
    try {
      return readWitnesses(config, keyOf('ledger')).map(({ url }) => url)
    } catch (error) {
      return error instanceof ConfigError ? error.faults : ['thrown']
    }
  }
  t.match(faultsOf(), [/the key of mine\.example is the ledger's own/])
  t.end()
})
