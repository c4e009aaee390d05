// Tokens that are in force no more because the bureau named their person or card since. A row says whose token, and
// nothing of why.
import { printBase64url } from '../base/bytes.ts'
import { changes, type Described } from './changes.ts'
import type { RegistryDb } from './schema.ts'

/** Who acts when the bureau's feed does. */
const feedActor = 'system:feed'

/**
 * `jti` 16 bytes, or SHA-256 of it where the row that would tell it cannot be opened, and with it no carrier;
 * `endsAtMs` is the token's own end, after which the row is of no use.
 */
export type TokenToRevoke = { jti: Buffer; carrier: string | undefined; endsAtMs: number }

/** Revokes what is not revoked yet; each is a change and news to its carrier. Resolves to how many were. */
export async function revokeTokens(
  db: RegistryDb,
  given: { tokens: readonly TokenToRevoke[]; nowMs: number },
): Promise<number> {
  const { tokens, nowMs } = given
  if (tokens.length === 0) return 0
  const { result } = await changes(db, async (tx, firstSeq) => {
    const acts: Described[] = []
    for (const { jti, carrier, endsAtMs } of tokens) {
      const row = { jti, carrier: carrier ?? '', seq: firstSeq + acts.length, ends_at: endsAtMs }
      const made = await tx
        .insertInto('revoked_tokens')
        .values(row)
        .onConflict((c) => c.doNothing())
        .executeTakeFirst()
      if (Number(made.numInsertedOrUpdatedRows ?? 0) === 0) continue // Another gateway came first.
      const subject = printBase64url(jti)
      const act = { act: 'token.revoke', jti: subject }
      const whose = carrier === undefined ? {} : { carrier }
      acts.push({ kind: 'token', subject, operator: feedActor, nowMs, act, ...whose })
    }
    return { result: acts.length, acts }
  })
  return result
}

/** Token ids, or their hashes (base64url), that are revoked and whose tokens have not ended. */
export async function readRevokedTokens(db: RegistryDb, nowMs: number): Promise<string[]> {
  const rows = await db.selectFrom('revoked_tokens').select('jti').where('ends_at', '>', nowMs).execute()
  return rows.map(({ jti }) => printBase64url(Buffer.from(jti)))
}

/** Forgets those whose tokens ended before `nowMs`. */
export async function pruneRevokedTokens(db: RegistryDb, nowMs: number): Promise<void> {
  await changes(db, async (tx) => {
    await tx.deleteFrom('revoked_tokens').where('ends_at', '<=', nowMs).execute()
    return { result: undefined, acts: [] }
  })
}

const counterName = 'feed'

/** The position of the bureau's feed up to which tokens were revoked; 0 before the first. */
export async function readFeedPosition(db: RegistryDb): Promise<number> {
  const row = await db
    .selectFrom('counters')
    .select('value')
    .where('name', '=', counterName)
    .executeTakeFirst()
  return Number(row?.value ?? 0)
}

export async function keepFeedPosition(db: RegistryDb, position: number): Promise<void> {
  await changes(db, async (tx) => {
    const row = { name: counterName, value: position }
    await tx
      .insertInto('counters')
      .values(row)
      .onConflict((c) => c.column('name').doUpdateSet({ value: position }))
      .execute()
    return { result: undefined, acts: [] }
  })
}
