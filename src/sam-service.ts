// The SAM service, if there is one: its adapter, bounds, key and verifier joined (docs/SAM.md). Another adapter is
// attached here, in the place of SamClient.
import { createPublicKey, type KeyObject } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Metrics } from '../plugins/metrics.ts'
import type { Common } from './app.ts'
import type { Clock } from './base/clock.ts'
import type { Config } from './base/config.ts'
import type { GatewayError } from './base/errors.ts'
import { importP256Spki, printP256Spki } from './base/p256.ts'
import { createDelays } from './bureau/delay.ts'
import { samSuite } from './card/reading.ts'
import { createSamVerifier } from './card/sam.ts'
import type { ChipVerifier } from './card/verdict.ts'
import { lifeOf } from './channel/challenge.ts'
import { boundAdapter } from './sam/bounded.ts'
import { SamClient } from './sam/client.ts'

type Context = { config: Config; clock: Clock; log: Common['log'] }

export type SamService = {
  /** By suite; none without a service, so that its readings are refused as malformed. */
  verifiers: readonly (readonly [suite: number, verifier: ChipVerifier])[]
  /** p99.9 of the last minute, ms: refusals wait for it as for the bureau's. */
  delayP999Ms(): number
}

/** @param closers takes what must be closed */
export function openSamService(
  { config, clock, log }: Context,
  metrics: Metrics,
  closers: (() => unknown)[],
): SamService {
  if (config.SAM_URL === '') return { verifiers: [], delayP999Ms: () => 0 }
  const file = (name: string) => readFileSync(join(config.VOUCHSAFE_CERTS, name))
  const tls = { ca: file('sam-ca.crt'), cert: file('sam-client.crt'), key: file('sam-client.key') }
  const attestationKey = readAttestationKey(join(config.VOUCHSAFE_CERTS, 'sam-attestation.pub'))
  const client = new SamClient({ url: config.SAM_URL, tls })
  closers.push(() => client.close())
  const delays = createDelays(clock)
  const tell = tellChanges(log)
  const fetchRecord = boundAdapter(client, {
    clock,
    onEnd({ ms, fault }) {
      metrics.samReads.inc({ outcome: fault ? 'failed' : 'answered' })
      delays.record(ms)
      tell(fault)
    },
  })
  const verifier = createSamVerifier({
    ...{ fetchRecord, attestationKey, lifeOf },
    onDoubt(reason) {
      metrics.samReads.inc({ outcome: 'doubted' })
      log.error({ reason }, 'sam record refused')
    },
  })
  return { verifiers: [[samSuite, verifier]], delayP999Ms: () => delays.p999Ms() }
}

/** One line when it fails and one when it answers again: each request in between would say the same. */
function tellChanges(log: Context['log']): (fault: GatewayError | undefined) => void {
  let failed = false
  return (fault) => {
    if (fault && !failed) log.warn({ err: fault }, 'sam service failed')
    if (!fault && failed) log.info('sam service answers again')
    failed = fault !== undefined
  }
}

/** @throws Error naming the file if it is no P-256 key */
function readAttestationKey(path: string): KeyObject {
  const key = createPublicKey(readFileSync(path))
  const imported = key.asymmetricKeyType === 'ec' ? importP256Spki(printP256Spki(key)) : undefined
  if (!imported) throw new Error(`${path} is no P-256 public key. Fix: put the SAM service’s there.`)
  return imported
}
