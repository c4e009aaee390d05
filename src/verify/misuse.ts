// What a device does that couriers do not: refusal after refusal, or far more people in a day than it usually has.
// Counted after the answer has left and never waited for by it. The asker is stopped, never the person: nobody is
// counted but as one of the people of one device on one day, under a name that means nothing elsewhere.
import { createSecretKey, type KeyObject, randomBytes } from 'node:crypto'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { hmacSha256 } from '../base/bytes.ts'
import { dayMs, epochOf } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'
import { bind } from '../base/t2l.ts'
import { printWho, type Who } from '../cache/key.ts'
import { createCounters } from '../store/counters.ts'
import type { Counters } from '../store/store.ts'
import type { MisuseReason, Services } from './services.ts'

const minuteMs = 60_000
const personBytes = 8

/** An answer that has left. `person` only where the chip's signature was right. */
export type Released = { device: Buffer; refused: boolean; person: Who | undefined }

type Needs = Pick<
  Services,
  'clock' | 'counters' | 'cacheKey' | 'misuseLimits' | 'suspendDevice' | 'alert' | 'onStoreLost'
>
type Breach = { reason: MisuseReason; count: number; limit: number }

/** Counts of this process alone, and what names a person in them where there is no key of the day. */
type Own = { counters: Counters; secret: KeyObject }

/** A person as a device's day knows them: `misuse{device, who}` under the day's cache key. */
export const nameForDevice = (secret: KeyObject, device: Buffer, who: Who): Buffer =>
  hmacSha256(secret, bind('misuse', device, printWho(who))).subarray(0, personBytes)

export function createMisuse(services: Needs) {
  const own: Own = { counters: createCounters(), secret: createSecretKey(randomBytes(32)) }
  const suspension = createSuspension(services, own)

  async function breachOf({ device, refused, person }: Released): Promise<Breach | undefined> {
    const { refusals, people } = services.misuseLimits
    const found = refused && refusals > 0 ? await countRefusal(services, own, device) : undefined
    return found ?? (person && people > 0 ? countPerson(services, own, { device, person }) : undefined)
  }

  return {
    /** Counts a released answer and suspends its device on a breach. Never rejects; only tests wait for it. */
    async note(released: Released): Promise<void> {
      await nextTurn() // The answer's bytes leave in this one.
      if (suspension.isQuiet(released.device)) return
      try {
        const breach = await breachOf(released)
        if (breach) await suspension.run(released.device, breach)
      } catch (cause) {
        services.onStoreLost(cause) // The answer is out: nobody waits here to be told.
      }
    },
  }
}

/**
 * Refusals are counted here as well as in the store, and the greater counts: a store that is lost, or comes back
 * empty, loses none of this node's.
 */
async function countRefusal(services: Needs, own: Own, device: Buffer): Promise<Breach | undefined> {
  const { refusals: limit } = services.misuseLimits
  const minute = epochOf(services.clock.now(), minuteMs)
  const here = await own.counters.addRefusal(device, minute)
  const everywhere = await services.counters.addRefusal(device, minute).catch(services.onStoreLost)
  const count = Math.max(here, everywhere ?? 0)
  return count >= limit ? { reason: 'refusals', count, limit } : undefined
}

/** People take memory: they are counted here only while the store is lost, beginning at nobody. */
async function countPerson(
  services: Needs,
  own: Own,
  { device, person }: { device: Buffer; person: Who },
): Promise<Breach | undefined> {
  const day = epochOf(services.clock.now(), dayMs)
  const secret = services.cacheKey(day)
  const measure = async (counters: Counters, key: KeyObject): Promise<Breach | undefined> => {
    const least = services.misuseLimits.people
    const count = await counters.addPerson(device, day, nameForDevice(key, device, person))
    if (count <= least) return undefined
    const norm = await readNorm(counters, device, day)
    const limit = Math.max(least, Math.floor(limits.peopleTimesNormMax * norm))
    return count > limit ? { reason: 'people', count, limit } : undefined
  }
  if (!secret) return measure(own.counters, own.secret)
  try {
    return await measure(services.counters, secret)
  } catch (cause) {
    services.onStoreLost(cause)
    return measure(own.counters, secret)
  }
}

/** The mean of the days, of the seven before, on which the device worked; 0 for a device that never did. */
async function readNorm(counters: Counters, device: Buffer, day: number): Promise<number> {
  const before = Array.from({ length: limits.peopleDays }, (_, i) => day - 1 - i)
  const worked = (await counters.readPeople(device, before)).filter((count) => count > 0)
  return worked.reduce((sum, count) => sum + count, 0) / Math.max(1, worked.length)
}

/** One suspension of a device at a time, and none of one that was just suspended. */
function createSuspension(services: Needs, own: Own) {
  const { clock } = services
  const quietUntil = new RecentMap<number>(limits.countedDevicesMax)
  const nameOf = (device: Buffer) => device.toString('latin1')
  const quieten = (device: Buffer, ms: number) => quietUntil.set(nameOf(device), clock.mono() + ms)
  const isQuiet = (device: Buffer) =>
    quietUntil.size > 0 && (quietUntil.get(nameOf(device)) ?? 0) > clock.mono()

  /** Once reinstated, the device shall not be suspended again for what it was suspended for. */
  async function forget(device: Buffer, reason: MisuseReason): Promise<void> {
    const [minute, day] = [epochOf(clock.now(), minuteMs), epochOf(clock.now(), dayMs)]
    const forgetIn = (counters: Counters) =>
      reason === 'refusals' ? counters.forgetRefusals(device, minute) : counters.forgetPeople(device, day)
    await forgetIn(own.counters)
    await forgetIn(services.counters).catch(services.onStoreLost)
  }

  return {
    isQuiet,
    async run(device: Buffer, { reason, count, limit }: Breach): Promise<void> {
      if (isQuiet(device)) return // Another answer's breach, while this one was being counted.
      quieten(device, limits.suspensionMsMax)
      services.alert({ kind: `device_${reason}`, device, count, limit })
      try {
        await services.suspendDevice(device, reason)
      } catch {
        quietUntil.delete(nameOf(device)) // Told by who wired it; the count stands, so the next answer tries again.
        return
      }
      quieten(device, limits.suspensionQuietMs)
      await forget(device, reason)
    },
  }
}
