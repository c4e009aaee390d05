// Named operators, each with a secret and a role of its own; secrets are random, so their hash is enough.
import { randomBytes } from 'node:crypto'
import { printBase64url, sameBytes, sha256 } from '../base/bytes.ts'
import { change } from './changes.ts'
import { type RegistryDb, RegistryError } from './schema.ts'

export const operatorRoles = ['admin', 'reviewer', 'auditor', 'metrics'] as const
export type OperatorRole = (typeof operatorRoles)[number]

const operatorName = /^[a-z][a-z0-9.-]{1,31}$/
const hashOf = (secret: string) => sha256(Buffer.from(secret))

/**
 * Adds an operator. The first one adds itself (`by` is its own name) and must be an admin, or nobody could ever
 * act; who comes later is added by another.
 * @returns seq of the change, and the secret (32 random bytes as base64url), which is kept nowhere
 * @throws RegistryError
 */
export async function addOperator(
  db: RegistryDb,
  given: { name: string; role: OperatorRole; by: string; nowMs: number },
): Promise<{ seq: number; secret: string }> {
  const { name, role, by, nowMs } = given
  if (!operatorName.test(name)) {
    throw new RegistryError(
      `Operator name "${name}" must be 2 to 32 of a-z, 0-9, . and -, beginning with a letter.`,
      'operator malformed',
    )
  }
  const secret = printBase64url(randomBytes(32))
  const act = { act: 'operator.add', name, role }
  const described = () => ({ kind: 'operator' as const, subject: name, operator: by, nowMs, act })
  const { seq } = await change(db, described, async (tx) => {
    const first = !(await tx.selectFrom('operators').select('name').limit(1).executeTakeFirst())
    if (first && role !== 'admin') {
      throw new RegistryError(
        `The first operator must have role admin, not ${role}: only an admin can add the others.`,
        'first operator not admin',
      )
    }
    const known = await tx.selectFrom('operators').select('name').where('name', '=', name).executeTakeFirst()
    if (known) {
      throw new RegistryError(
        `Operator "${name}" is known already; choose another name.`,
        'operator known already',
      )
    }
    // Two founders at once: the one whose transaction comes second is no founder any more.
    if (!first && by === name) {
      throw new RegistryError(`Operator "${name}" must be added by another, an admin.`, 'operator unknown')
    }
    const row = { name, role, secret_hash: hashOf(secret), status: 'active' }
    await tx.insertInto('operators').values(row).execute()
  })
  return { seq, secret }
}

const nobody = Buffer.alloc(32)

/** Name and role if the secret is right; an unknown name takes as long. */
export async function checkOperator(
  db: RegistryDb,
  name: string,
  secret: string,
): Promise<{ name: string; role: OperatorRole } | undefined> {
  const row = await db.selectFrom('operators').selectAll().where('name', '=', name).executeTakeFirst()
  const right = sameBytes(hashOf(secret), row?.secret_hash ?? nobody)
  return right && row?.status === 'active' ? { name, role: row.role as OperatorRole } : undefined
}

/** All operators by name, without what they know. */
export const listOperators = (db: RegistryDb) =>
  db.selectFrom('operators').select(['name', 'role', 'status']).orderBy('name').execute()
