// Operators: secrets shown once and kept as a hash, checked alike for known and unknown names.
import { createHash } from 'node:crypto'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { addOperator, checkOperator, listOperators, operatorRoles } from '../../src/registry/operators.ts'
import { openRegistry } from '../../src/registry/schema.ts'

const lin = 'lin.qiao'
const nowMs = 1000

async function openTest(t: Test) {
  const db = await openRegistry(join(t.testdir(), 'registry.db'))
  t.teardown(() => db.destroy())
  return db
}

t.test(
  'the first operator adds itself, the others are added, and each secret opens its own name',
  async (t) => {
    const db = await openTest(t)
    const first = await addOperator(db, { name: lin, role: 'admin', by: lin, nowMs })
    t.equal(first.seq, 1)
    t.match(first.secret, /^[A-Za-z0-9_-]{43}$/)
    const secrets = new Map([[lin, first.secret]])
    for (const role of operatorRoles) {
      const { secret } = await addOperator(db, { name: `the-${role}`, role, by: lin, nowMs })
      secrets.set(`the-${role}`, secret)
      t.same(await checkOperator(db, `the-${role}`, secret), { name: `the-${role}`, role })
    }
    t.equal(new Set(secrets.values()).size, 5)
    for (const [name, secret] of secrets) {
      for (const [other, wrong] of secrets) {
        if (name !== other) t.equal(await checkOperator(db, name, wrong), undefined)
      }
      t.equal(await checkOperator(db, name, secret.slice(0, -1)), undefined)
      t.equal(await checkOperator(db, name, `${secret} `), undefined)
      t.equal(await checkOperator(db, name, ''), undefined)
      t.equal(await checkOperator(db, 'nobody', secret), undefined)
    }
    t.same((await listOperators(db))[0], { name: lin, role: 'admin', status: 'active' })
  },
)

t.test('only the SHA-256 of a secret is kept, in any table', async (t) => {
  const db = await openTest(t)
  const { secret } = await addOperator(db, { name: lin, role: 'admin', by: lin, nowMs })
  const [row] = await db.selectFrom('operators').selectAll().execute()
  t.same(Buffer.from(row?.secret_hash ?? []), createHash('sha256').update(secret).digest())
  t.notOk(JSON.stringify(await db.selectFrom('changes').selectAll().execute()).includes(secret))
})

t.test('an operator who is not active is nobody, with the right secret too', async (t) => {
  const db = await openTest(t)
  const { secret } = await addOperator(db, { name: lin, role: 'admin', by: lin, nowMs })
  await db.updateTable('operators').set({ status: 'removed' }).execute()
  t.equal(await checkOperator(db, lin, secret), undefined)
})

t.test('what is wrong is refused with its word', async (t) => {
  const db = await openTest(t)
  const add = (over: Partial<Parameters<typeof addOperator>[1]>) =>
    addOperator(db, { name: 'second', role: 'admin', by: lin, nowMs, ...over })
  for (const role of operatorRoles.slice(1)) {
    await t.rejects(
      add({ role }),
      { name: 'RegistryError', reason: 'first operator not admin' },
      'or nobody could ever act',
    )
  }
  await add({ name: lin })
  for (const name of ['', 'a', 'Lin', '1lin', 'lin qiao', 'lin\n', 'x'.repeat(33)]) {
    await t.rejects(
      add({ name }),
      { name: 'RegistryError', reason: 'operator malformed' },
      JSON.stringify(name),
    )
  }
  await t.rejects(add({ name: lin }), { name: 'RegistryError', reason: 'operator known already' })
  await t.rejects(add({ name: 'second', by: 'second' }), {
    name: 'RegistryError',
    reason: 'operator unknown',
  })
  t.equal((await listOperators(db)).length, 1)
})

t.test('of two founders at once on two connections one is refused', async (t) => {
  const file = join(t.testdir(), 'two.db')
  const [a, b] = [await openRegistry(file), await openRegistry(file)]
  t.teardown(() => Promise.all([a.destroy(), b.destroy()]))
  const found = (db: typeof a, name: string) => addOperator(db, { name, role: 'admin', by: name, nowMs })
  const ended = await Promise.allSettled([found(a, 'lin.qiao'), found(b, 'mallory')])
  t.same(ended.map(({ status }) => status).sort(), ['fulfilled', 'rejected'])
  t.equal((await listOperators(a)).length, 1)
})
