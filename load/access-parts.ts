// What logging in and asking about a token are made of, each part alone over the very requests that the gateway was
// sent (see primitives.ts). Run as a process of its own by bench.ts.
import { createPrivateKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createTokenHolders } from '../plugins/token-holders.ts'
import { present } from '../src/base/assert.ts'
import { parseBase64url, printBase64url } from '../src/base/bytes.ts'
import { dayMs, epochOf, systemClock } from '../src/base/clock.ts'
import { readConfig } from '../src/base/config.ts'
import { checkP256, importP256Spki, printP256Spki } from '../src/base/p256.ts'
import { decapsulateSession, recipientIdOf } from '../src/channel/hpke.ts'
import { deriveSid, type SessionRequest, signedSession, wrapSessionKey } from '../src/channel/session.ts'
import { loadKeks } from '../src/keys/kek.ts'
import { Keyring } from '../src/keys/keyring.ts'
import { openRegistry } from '../src/registry/schema.ts'
import { sessionTimes } from '../src/token/claims.ts'
import { forEach, measureAlone, must, type Works } from './alone.ts'
import { takeJob } from './child.ts'
import { readLines } from './lines.ts'

export type AccessJob = {
  dataDir: string
  certsDir: string
  /** Lines of logins, or of introspections. */
  files: string[]
  /** Requests at once, as in the run. */
  atOnce: number
  rounds: number
}

/** CPU microseconds of one; those of the lines given. */
export type AccessParts = Partial<
  Record<'device signature' | 'session key' | 'device token' | 'answer token check', number>
>

type Login = SessionRequest & { signature: Buffer; key: KeyObject; carrier: string; outlet: string }

async function readLogins(bodies: readonly string[], dataDir: string): Promise<Login[]> {
  const registry = await openRegistry(join(dataDir, 'registry.db'))
  const logins: Login[] = []
  for (const text of bodies) {
    const body = JSON.parse(text) as Record<string, string> & { firmware: number }
    const bytes = (name: string) => present(parseBase64url(String(body[name])), name)
    const device = bytes('device')
    const row = await registry
      .selectFrom('devices')
      .selectAll()
      .where('id', '=', device)
      .executeTakeFirstOrThrow()
    const key = present(importP256Spki(Buffer.from(row.spki)), 'the key of a device')
    const [recipient, enc, challenge] = [bytes('recipient'), bytes('enc'), bytes('challenge')]
    const [courier, signature, firmware] = [bytes('courier'), bytes('signature'), body.firmware]
    const { carrier, outlet } = row
    logins.push({ device, recipient, enc, challenge, firmware, courier, signature, key, carrier, outlet })
  }
  await registry.destroy()
  return logins
}

type Tokens = ReturnType<typeof createTokenHolders>

async function loginWorks(logins: readonly Login[], keyring: Keyring, tokens: Tokens, atOnce: number) {
  const recipients = new Map(
    keyring.all('recipient').map(({ key }) => [recipientIdOf(printP256Spki(key)).toString('hex'), key]),
  )
  const recipientOf = ({ recipient }: Login) =>
    present(recipients.get(recipient.toString('hex')), 'a recipient key')
  const { iat, exp } = sessionTimes(systemClock.now())
  const wrap = present(await keyring.find('session-wrap', epochOf(iat * 1000, dayMs)), 'the wrap key')
  const opened = logins.map((one) => {
    const sid = deriveSid(one.challenge, one.device, one.enc)
    return {
      ...one,
      sid,
      sessionKey: present(decapsulateSession(recipientOf(one), one.recipient, one.enc), 'a key'),
    }
  })
  const works: Works<'device signature' | 'session key' | 'device token'> = {
    'device signature': () =>
      forEach(logins, 1, (one) => must(checkP256(one.key, signedSession(one), one.signature))),
    'session key': () =>
      forEach(logins, 1, (one) => must(decapsulateSession(recipientOf(one), one.recipient, one.enc))),
    'device token': () =>
      forEach(opened, atOnce, ({ device, carrier, outlet, courier, firmware, sid, sessionKey }) => {
        const wrapped = wrapSessionKey(wrap, sessionKey, { sid, device, carrier, expS: exp })
        return tokens.signDevice({
          ...{ sub: printBase64url(device), carrier, outlet, courier: printBase64url(courier), fw: firmware },
          ...{ sid: printBase64url(sid), iat, exp, key: printBase64url(wrapped) },
        })
      }),
  }
  return works
}

async function measure({ dataDir, certsDir, files, atOnce, rounds }: AccessJob): Promise<AccessParts> {
  const clock = systemClock
  const keyring = await Keyring.open({
    ...{ file: join(dataDir, 'keyring.db'), keks: () => loadKeks(certsDir), clock, node: 'bench' },
    adopt: { token: createPrivateKey(readFileSync(join(certsDir, 'token.key'))) },
    onFault: (error) => console.error(error),
  })
  const tokens = createTokenHolders({ keyring, issuer: readConfig({}).VOUCHSAFE_ORIGIN, clock })
  const lines = readLines(files)
  const bodies = lines.filter(({ kind }) => kind === 'login').map(({ body }) => body)
  const asked = lines.filter(({ kind }) => kind === 'token').map(({ body }) => body.slice('token='.length))
  try {
    if (bodies.length > 0) {
      const works = await loginWorks(await readLogins(bodies, dataDir), keyring, tokens, atOnce)
      return await measureAlone(works, bodies.length, rounds)
    }
    const works: Works<'answer token check'> = {
      'answer token check': () =>
        forEach(asked, atOnce, async (token) => must(await tokens.readAnswer(token))),
    }
    return await measureAlone(works, asked.length, rounds)
  } finally {
    await keyring.close()
  }
}

takeJob(async (job: AccessJob) => ({ done: await measure(job) }))
