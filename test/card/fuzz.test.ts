// Two thousand bent cards, and that the fuzzer would find what it looks for.
import { randomInt } from 'node:crypto'
import t from 'tap'
import { makeWorlds, runCase } from '../../load/fuzz-cards.ts'
import { fuzz } from '../../load/fuzz-run.ts'

t.test('2,000 bent cards and passports come to refusals of the closed list', async (t) => {
  const wanted = ['row 6', 'R01', 'R02', 'R03', 'R06', 'R09', 'R10', 'R20']
  const seen: Record<string, number> = {}
  let cases = 0
  // The rarest comes up three times in 2,000, and so not at all in one run of thirty: then there are 2,000 more.
  while (cases === 0 || (cases < 10_000 && wanted.some((came) => seen[came] === undefined))) {
    const seed = randomInt(2 ** 31)
    t.comment(`npm run fuzz -- --cases 2000 --seed ${seed}`)
    for (const [came, count] of Object.entries(fuzz({ cases: 2000, seed })))
      seen[came] = (seen[came] ?? 0) + count
    cases += 2000
  }
  t.comment(
    Object.entries(seen)
      .sort()
      .map(([came, count]) => `${came}: ${count}`)
      .join(', '),
  )
  t.equal(
    Object.values(seen).reduce((sum, count) => sum + count, 0),
    cases,
  )
  for (const came of wanted) {
    t.ok((seen[came] ?? 0) > 0, `${came} was reached`)
  }
})

t.test('a check that lets everything through is found out', async (t) => {
  const [world] = makeWorlds()
  const blind = { ...world, verify: () => ({ refusal: 0, card: {} }) as never }
  const bent = { subject: 0, target: 'record', resign: false, changes: [] } as const
  t.equal(runCase(world, { ...bent, changes: [] }), 'R00', 'the card itself is right')
  const changes = [{ at: 3, kind: 'body' as const, with: 100, bytes: Uint8Array.of(1, 2, 3) }]
  t.throws(() => runCase(blind, { ...bent, changes }), /not the one that was signed for/)
  t.throws(
    () =>
      runCase(blind, {
        ...bent,
        target: 'attributes',
        changes: [{ at: 0, kind: 'delete', with: 0, bytes: new Uint8Array() }],
      }),
    /nobody signed/,
  )
  const odd = { ...world, verify: () => ({ refusal: 99 }) as never }
  t.throws(() => runCase(odd, { ...bent, changes }), /99 is none/)
  const throwing = {
    ...world,
    verify: () => {
      throw new TypeError('undefined is not a function')
    },
  }
  t.throws(() => runCase(throwing, { ...bent, changes }), TypeError)
})
