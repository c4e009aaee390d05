// What Redis does for us in one step: a count and its end of life are written together, so that none is ever left
// without one, and it is one command in place of three. It knows keys only as it is given them.
import { dayMs } from '../base/clock.ts'
import { limits } from '../base/limits.ts'
import { scriptOf } from './redis-call.ts'

const minuteMs = 60_000

/** A refusal counts for ten minutes; one more for nodes whose clocks differ. */
export const refusalsKeepMs = (limits.refusalMinutes + 1) * minuteMs

/** The day itself and the seven for which it is part of the norm. */
export const peopleKeepMs = (limits.peopleDays + 1) * dayMs

/** KEYS: this minute's, then those before it. ARGV: life in ms. Returns the sum of all. */
export const countRefusal = scriptOf(`
  local sum = redis.call('INCR', KEYS[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
  for _, count in ipairs(redis.call('MGET', unpack(KEYS, 2))) do
    if count then sum = sum + count end
  end
  return sum`)

/** KEYS: the day's. ARGV: the person, life in ms. Returns how many distinct ones there are. */
export const countPerson = scriptOf(`
  redis.call('PFADD', KEYS[1], ARGV[1])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
  return redis.call('PFCOUNT', KEYS[1])`)
