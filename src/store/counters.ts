// Counts of what devices did, in this process alone and exact: those of the embedded store, and what is counted by
// while a Redis is lost. Bounded by forgetting the device that was quiet longest. It knows no clock and no person.
import { limits } from '../base/limits.ts'
import { RecentMap } from '../base/recent.ts'
import type { Counters } from './store.ts'

/** Refusals by minute, of the newest `limits.refusalMinutes`. */
type Refusals = Map<number, number>

/** The people of a device's newest day, and how many those before it had. */
type People = { day: number; names: Set<string>; before: Map<number, number> }

/** @param peopleMax people held at once, of all devices: 50 bytes each */
export function createCounters(peopleMax: number = limits.countedPeopleMax): Counters {
  const refusals = new RecentMap<Refusals>(limits.countedDevicesMax)
  const people = new PeopleTable(limits.countedDevicesMax, peopleMax)
  const nameOf = (device: Buffer) => device.toString('latin1')

  return {
    async addRefusal(device, minute) {
      const counts = refusals.get(nameOf(device)) ?? new Map<number, number>()
      for (const known of counts.keys()) if (known <= minute - limits.refusalMinutes) counts.delete(known)
      counts.set(minute, (counts.get(minute) ?? 0) + 1)
      refusals.set(nameOf(device), counts)
      return [...counts.values()].reduce((sum, count) => sum + count, 0)
    },
    async addPerson(device, day, person) {
      return people.add(nameOf(device), day, person.toString('latin1'))
    },
    async readPeople(device, days) {
      return days.map((day) => people.count(nameOf(device), day))
    },
    async forgetRefusals(device) {
      refusals.delete(nameOf(device))
    },
    async forgetPeople(device, day) {
      people.forget(nameOf(device), day)
    },
  }
}

class PeopleTable {
  readonly #devicesMax: number
  readonly #peopleMax: number
  // The first is the one that was quiet longest.
  readonly #devices = new Map<string, People>()
  #held = 0

  constructor(devicesMax: number, peopleMax: number) {
    this.#devicesMax = devicesMax
    this.#peopleMax = peopleMax
  }

  /** One who comes late to a day that is over is not counted: what is left of it is a number. */
  add(device: string, day: number, person: string): number {
    const known = this.#takeDay(device, day)
    if (known.day !== day) return this.count(device, day)
    if (!known.names.has(person) && this.#hasRoom()) {
      known.names.add(person)
      this.#held++
    }
    return known.names.size
  }

  count(device: string, day: number): number {
    const known = this.#devices.get(device)
    if (!known) return 0
    return known.day === day ? known.names.size : (known.before.get(day) ?? 0)
  }

  forget(device: string, day: number): void {
    const known = this.#devices.get(device)
    known?.before.delete(day)
    if (known?.day === day) this.#drop(known)
  }

  /** The people of a device, begun anew if `day` is later than the newest. */
  #takeDay(device: string, day: number): People {
    const known = this.#devices.get(device) ?? { day, names: new Set<string>(), before: new Map() }
    this.#devices.delete(device)
    this.#devices.set(device, known)
    if (this.#devices.size > this.#devicesMax) this.#forgetQuietest()
    if (day > known.day) {
      known.before.set(known.day, known.names.size)
      for (const old of known.before.keys()) if (old < day - limits.peopleDays) known.before.delete(old)
      this.#drop(known)
      known.day = day
    }
    return known
  }

  /** False if the one device that is left holds all that may be held: then its count stands still. */
  #hasRoom(): boolean {
    while (this.#held >= this.#peopleMax && this.#devices.size > 1) this.#forgetQuietest()
    return this.#held < this.#peopleMax
  }

  #forgetQuietest(): void {
    for (const [device, people] of this.#devices) {
      this.#drop(people)
      this.#devices.delete(device)
      return
    }
  }

  #drop(people: People): void {
    this.#held -= people.names.size
    people.names.clear()
  }
}
