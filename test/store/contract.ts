// The contract of a store, run on both kinds: what the gateway relies on, and no more.
import { createHash, randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Test } from 'tap'
import { type Store, StoreUnavailable } from '../../src/store/store.ts'

/** `pass` lets that many ms pass for the store; `settle` lets unawaited writes arrive. */
export type Subject = { store: Store; pass(ms: number): Promise<void>; settle(): Promise<void> }

const challenge = () => randomBytes(42)
const value = () => randomBytes(41)
const lifeMs = 60_000
const device = () => randomBytes(16)
const person = () => randomBytes(8)
/** The same names in each run: an estimate of them is never by chance another. */
export const numbered = (i: number) => createHash('sha256').update(`person ${i}`).digest().subarray(0, 8)
const [minute, day] = [29_916_480, 20_775]

/** The result of a call that may be made again: where not its time is meant, a busy machine may take several. */
export async function patiently<T>(call: () => Promise<T>, tries = 50): Promise<T> {
  for (;;) {
    try {
      return await call()
    } catch (error) {
      if (!(error instanceof StoreUnavailable) || --tries === 0) throw error
      await sleep(20)
    }
  }
}

export function testStoreContract(t: Test, open: (t: Test) => Promise<Subject>): void {
  t.test('the first claim of a challenge wins and the next is shown what stands', async (t) => {
    const { store } = await open(t)
    const [name, mine, theirs] = [challenge(), value(), value()]
    t.equal(await store.claimGuard(name, mine, lifeMs), undefined)
    t.same(await store.claimGuard(name, theirs, lifeMs), mine)
    t.same(await store.readGuard(name), mine, 'the loser wrote nothing')
    t.equal(await store.claimGuard(challenge(), theirs, lifeMs), undefined, 'another challenge is free')
  })

  t.test('of 100 claims at once one wins and 99 are shown its value', async (t) => {
    const { store } = await open(t)
    const name = challenge()
    const values = Array.from({ length: 100 }, value)
    const outcomes = await Promise.all(values.map((each) => store.claimGuard(name, each, lifeMs)))
    const winners = values.filter((_, i) => outcomes[i] === undefined)
    t.equal(winners.length, 1)
    t.ok(outcomes.every((each) => each === undefined || each.equals(winners[0] ?? each.subarray(1))))
  })

  t.test('a guard that was never written reads as undefined', async (t) => {
    const { store } = await open(t)
    t.equal(await store.readGuard(challenge()), undefined)
  })

  t.test('a put replaces what stands and needs no claim before it', async (t) => {
    const { store, settle } = await open(t)
    const [name, first, second] = [challenge(), value(), value()]
    await store.claimGuard(name, first, lifeMs)
    store.putGuard(name, second, lifeMs)
    await settle()
    t.same(await store.readGuard(name), second)
    const unclaimed = challenge()
    store.putGuard(unclaimed, first, lifeMs)
    await settle()
    t.same(await store.claimGuard(unclaimed, second, lifeMs), first)
  })

  t.test('a put is seen by a claim made right after it', async (t) => {
    const { store } = await open(t)
    const [name, first, second] = [challenge(), value(), value()]
    store.putGuard(name, first, lifeMs)
    t.same(await store.claimGuard(name, second, lifeMs), first)
  })

  t.test('a guard ends with its life and can be claimed again', async (t) => {
    const { store, pass } = await open(t)
    const [name, first, second] = [challenge(), value(), value()]
    await store.claimGuard(name, first, 150)
    t.same(await store.readGuard(name), first)
    await pass(200)
    t.equal(await store.readGuard(name), undefined)
    t.equal(await store.claimGuard(name, second, lifeMs), undefined)
    t.same(await store.readGuard(name), second)
  })

  t.test('a put gives a guard a new life, longer or shorter', async (t) => {
    const { store, pass } = await open(t)
    const [longer, shorter, bytes] = [challenge(), challenge(), value()]
    await store.claimGuard(longer, bytes, 100)
    store.putGuard(longer, bytes, lifeMs)
    await store.claimGuard(shorter, bytes, lifeMs)
    store.putGuard(shorter, bytes, 100)
    await pass(200)
    t.same(await store.readGuard(longer), bytes)
    t.equal(await store.readGuard(shorter), undefined)
  })

  t.test('a life of a fraction of a millisecond is taken', async (t) => {
    const { store } = await open(t)
    t.equal(await store.claimGuard(challenge(), value(), 0.25), undefined)
    store.putGuard(challenge(), value(), 1000.5)
    store.putAnswer('v1:c:1:fraction', value(), 1000.5)
    t.same((await store.readAnswers(['v1:c:1:fraction'])).length, 1)
    t.equal(store.writesLost, 0)
  })

  t.test('answers are read in the order asked for, with undefined for what is not there', async (t) => {
    const { store, settle } = await open(t)
    const [one, two] = [randomBytes(76), randomBytes(76)]
    store.putAnswer('v1:c:20000:one', one, lifeMs)
    store.putAnswer('v1:c:20000:two', two, lifeMs)
    await settle()
    t.same(await store.readAnswers(['v1:c:20000:two', 'v1:c:20000:none', 'v1:c:20000:one']), [
      two,
      undefined,
      one,
    ])
    t.same(await store.readAnswers([]), [])
  })

  t.test('an answer is replaced by a later one and ends with its life', async (t) => {
    const { store, settle, pass } = await open(t)
    const [one, two] = [randomBytes(76), randomBytes(76)]
    store.putAnswer('v1:c:20000:a', one, lifeMs)
    store.putAnswer('v1:c:20000:a', two, 150)
    await settle()
    t.same(await store.readAnswers(['v1:c:20000:a']), [two])
    await pass(200)
    t.same(await store.readAnswers(['v1:c:20000:a']), [undefined])
  })

  t.test(
    'every byte value comes back, and what the caller does to its buffer later changes nothing',
    async (t) => {
      const { store, settle } = await open(t)
      const bytes = Buffer.from(Array.from({ length: 256 }, (_, i) => i))
      const kept = Buffer.from(bytes)
      const guards = Array.from({ length: 7 }, (_, i) => {
        const from = Math.min(i * 41, 256 - 41)
        return {
          name: challenge(),
          value: bytes.subarray(from, from + 41),
          kept: kept.subarray(from, from + 41),
        }
      })
      for (const { name, value } of guards) await store.claimGuard(name, value, lifeMs)
      store.putAnswer('v1:c:20000:bytes', bytes, lifeMs)
      await settle()
      bytes.fill(0)
      for (const { name, kept } of guards) t.same(await store.readGuard(name), kept)
      const [answer] = await store.readAnswers(['v1:c:20000:bytes'])
      t.same(answer, kept)
      answer?.fill(0)
      t.same(await store.readAnswers(['v1:c:20000:bytes']), [kept])
    },
  )

  t.test('refusals of one device in ten minutes add up, those of the twelfth are gone', async (t) => {
    const { store } = await open(t)
    const [one, other] = [device(), device()]
    t.equal(await store.addRefusal(one, minute), 1)
    t.equal(await store.addRefusal(one, minute), 2)
    t.equal(await store.addRefusal(other, minute), 1, 'another device has a count of its own')
    for (let i = 1; i <= 10; i += 1) t.equal(await store.addRefusal(one, minute + i), 2 + i)
    t.equal(await store.addRefusal(one, minute + 11), 11, 'the first minute counts no more')
    t.equal(await store.addRefusal(one, minute + 25), 1)
  })

  t.test('refusals counted at once are all counted, and each sees another sum', async (t) => {
    const { store } = await open(t)
    const one = device()
    const sums = await Promise.all(Array.from({ length: 50 }, () => store.addRefusal(one, minute)))
    t.same(
      sums.sort((a, b) => a - b),
      Array.from({ length: 50 }, (_, i) => i + 1),
    )
  })

  t.test('a person counts once for a device and day', async (t) => {
    const { store } = await open(t)
    const [one, other] = [device(), device()]
    const [first, second] = [numbered(1), numbered(2)]
    t.equal(await store.addPerson(one, day, first), 1)
    t.equal(await store.addPerson(one, day, first), 1)
    t.equal(await store.addPerson(one, day, second), 2)
    t.equal(await store.addPerson(other, day, first), 1, 'another device')
    t.equal(await store.addPerson(one, day + 1, first), 1, 'another day')
    t.same(await store.readPeople(one, [day + 1, day, day - 1]), [1, 2, 0])
    t.same(await store.readPeople(device(), [day]), [0], 'a device that never worked')
    t.same(await store.readPeople(one, []), [])
  })

  t.test('the people of seven days before are still told', async (t) => {
    const { store } = await open(t)
    const one = device()
    const days = Array.from({ length: 8 }, (_, i) => day + i)
    for (const [i, each] of days.entries()) {
      for (let n = 0; n <= i; n += 1) await store.addPerson(one, each, numbered(n))
    }
    t.same(await store.readPeople(one, days), [1, 2, 3, 4, 5, 6, 7, 8])
  })

  t.test('of 2,000 people the count is within 3 %', async (t) => {
    const { store } = await open(t)
    const one = device()
    for (let i = 0; i < 20; i += 1) {
      await Promise.all(
        Array.from({ length: 100 }, (_, n) =>
          patiently(() => store.addPerson(one, day, numbered(i * 100 + n))),
        ),
      )
    }
    const [count = 0] = await patiently(() => store.readPeople(one, [day]))
    t.ok(Math.abs(count - 2000) <= 60, `${count}`)
  })

  t.test('what is forgotten counts from nothing, and nothing else is', async (t) => {
    const { store } = await open(t)
    const [one, other] = [device(), device()]
    for (const each of [one, other]) {
      await store.addRefusal(each, minute - 9)
      await store.addRefusal(each, minute)
      await store.addPerson(each, day - 1, person())
      await store.addPerson(each, day, person())
    }
    await store.forgetRefusals(one, minute)
    t.equal(await store.addRefusal(one, minute), 1)
    t.same(await store.readPeople(one, [day, day - 1]), [1, 1], 'people are not refusals')
    await store.forgetPeople(one, day)
    t.same(await store.readPeople(one, [day, day - 1]), [0, 1])
    t.equal(await store.addPerson(one, day, person()), 1)
    t.equal(await store.addRefusal(other, minute), 3)
    t.same(await store.readPeople(other, [day, day - 1]), [1, 1])
  })

  t.test('what the caller does to its buffers later changes no count', async (t) => {
    const { store } = await open(t)
    const [one, first] = [device(), person()]
    const [kept, again] = [Buffer.from(one), Buffer.from(first)]
    const counts = [store.addPerson(one, day, first), store.addRefusal(one, minute)]
    first.fill(0)
    one.fill(0)
    t.same(await Promise.all(counts), [1, 1])
    t.equal(await store.addPerson(kept, day, again), 1, 'the same person')
    t.equal(await store.addRefusal(kept, minute), 2)
  })

  t.test(
    'a closed store is down, rejects what is awaited, counts what is not, and closes again',
    async (t) => {
      const { store } = await open(t)
      t.equal(store.isUp(), true)
      await store.close()
      t.equal(store.isUp(), false)
      await t.rejects(store.claimGuard(challenge(), value(), lifeMs), { name: 'StoreUnavailable' })
      await t.rejects(store.readGuard(challenge()), { name: 'StoreUnavailable' })
      await t.rejects(store.readAnswers(['v1:c:1:x']), { name: 'StoreUnavailable' })
      const counts: (() => Promise<unknown>)[] = [
        () => store.addRefusal(device(), minute),
        () => store.addPerson(device(), day, person()),
        () => store.readPeople(device(), [day]),
        () => store.forgetRefusals(device(), minute),
        () => store.forgetPeople(device(), day),
      ]
      for (const count of counts) await t.rejects(count, { name: 'StoreUnavailable' })
      store.putGuard(challenge(), value(), lifeMs)
      store.putAnswer('v1:c:1:x', value(), lifeMs)
      await new Promise((resolve) => setTimeout(resolve, 20))
      t.equal(store.writesLost, 2)
      await store.close()
    },
  )
}
