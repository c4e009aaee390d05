// One question to the bureau for all who ask about one person until the cache has the answer, and no longer.
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import t from 'tap'
import { limits } from '../../src/base/limits.ts'
import type { AnswerCache, Slots } from '../../src/cache/answers.ts'
import { createQuestions } from '../../src/cache/questions.ts'

const who = {
  docType: 'ID',
  state: 'CHN',
  number: '780001199001010011',
  name: '王试',
  serial: randomBytes(16),
  validTo: '20400101',
} as const
const place = {
  day: 1,
  ck: randomBytes(16),
  vk: () => {
    throw new Error('not needed')
  },
}
const slots = (flightKey = 'a', current: Slots['current'] = place): Slots => ({
  who,
  flightKey,
  current,
  previous: undefined,
})
const question = {
  docType: 'ID',
  issuingState: 'CHN',
  number: who.number,
  name: who.name,
  serial: '',
  validTo: who.validTo,
} as const

function setUp() {
  const news = { fresh: true, covers: true, changed: false }
  let asked = 0
  let fails = false
  const writes: unknown[] = []
  const cache: AnswerCache = {
    prepare: () => slots(),
    read: async () => undefined,
    write: (_, value) => writes.push(value),
  }
  const questions = createQuestions({
    cache,
    feed: { isFresh: () => news.fresh, covers: () => news.covers, changedSince: () => news.changed },
    async ask() {
      asked++
      await sleep(1)
      if (fails) throw new Error('the bureau is out')
      return { result: 'match', transaction: randomBytes(16), position: 5 }
    },
  })
  return {
    ...questions,
    news,
    writes,
    asked: () => asked,
    fail: (now: boolean) => {
      fails = now
    },
  }
}

t.test('who asks after the answer came and before it is cached has it too', async (t) => {
  const { ask, asked } = setUp()
  const [first] = await Promise.all(Array.from({ length: 1000 }, () => ask(slots(), question)))
  t.equal(await ask(slots(), question), first)
  t.equal(asked(), 1)
  await ask(slots('b'), question)
  t.equal(asked(), 2, 'another person, or another carrier, is another question')
})

t.test(
  'an answer that is recorded late is passed on until the cache has it, and a moment longer',
  async (t) => {
    const { ask, answers, asked } = setUp()
    const { position, transaction } = await ask(slots(), question)
    await sleep(600)
    await ask(slots(), question)
    t.equal(asked(), 1, 'the cache does not have it yet')
    answers.write(slots(), { answer: 1, refusal: 0, position, transaction })
    await sleep(50)
    await ask(slots(), question)
    t.equal(asked(), 1, 'who looked there before it had it')
    await sleep(250)
    await ask(slots(), question)
    t.equal(asked(), 2, 'it is kept for a moment only')
  },
)

t.test('an answer that nobody records is forgotten when every request that had it has ended', async (t) => {
  const { ask, asked } = setUp()
  await ask(slots(), question)
  await sleep(limits.requestMsMax + 500)
  await ask(slots(), question)
  t.equal(asked(), 2)
})

t.test('news about the person ends it, and so does not knowing the news', async (t) => {
  for (const change of [{ changed: true }, { covers: false }, { fresh: false }]) {
    const { ask, asked, news } = setUp()
    await ask(slots(), question)
    Object.assign(news, change)
    await ask(slots(), question)
    t.equal(asked(), 2, JSON.stringify(change))
  }
})

t.test('an answer that nobody recorded does not come back in the place of a newer one', async (t) => {
  const { ask, asked, news } = setUp()
  await ask(slots(), question)
  await sleep(130)
  news.changed = true
  const newer = await ask(slots(), question)
  news.changed = false
  await sleep(130)
  t.equal(await ask(slots(), question), newer)
  t.equal(asked(), 2)
})

t.test('a failure is not kept, nor is anything without a secret of the day', async (t) => {
  const { ask, asked, fail } = setUp()
  fail(true)
  await t.rejects(ask(slots(), question), /out/)
  fail(false)
  await ask(slots(), question)
  t.equal(asked(), 2)
  const bare: Slots = { who, flightKey: 'c', current: undefined, previous: undefined }
  await ask(bare, question)
  await ask(bare, question)
  t.equal(asked(), 4)
})

t.test('of those who have one answer, one writes the cache', async (t) => {
  const { ask, answers, writes } = setUp()
  const { position, transaction } = await ask(slots(), question)
  for (let i = 0; i < 3; i++) answers.write(slots(), { answer: 1, refusal: 0, position, transaction })
  t.equal(writes.length, 1)
})
