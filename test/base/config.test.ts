// Configuration: defaults are accepted, and every fault is told at once with value, source and fix.
import t from 'tap'
import { ConfigError, readConfig } from '../../src/base/config.ts'

const faultsOf = (env: Record<string, string>) => {
  try {
    readConfig(env)
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.faults
    throw error
  }
}

t.test('nothing set is a development gateway', (t) => {
  t.match(readConfig({}), { VOUCHSAFE_MODE: 'development', DEVICE_PORT: 8443, REDIS_URL: '', WORKERS: 0 })
  t.end()
})

t.test('all faults at once, with the value, its source and the fix; secrets are hidden', (t) => {
  const faults = faultsOf({
    DEVICE_PORT: '70000',
    LOG_LEVEL: 'loud',
    REDIS_URL: 'http://user:secret@host',
    DEVICE_RATE: '1e3',
  })
  t.equal(faults.length, 4)
  t.match(faults.join('\n'), 'DEVICE_PORT = "70000" (from the environment) is not accepted. Fix: ')
  t.notMatch(faults.join('\n'), 'secret')
  t.end()
})

t.test('the embedded store is refused in production and with several workers', (t) => {
  t.match(faultsOf({ VOUCHSAFE_MODE: 'production' }).join(), /REDIS_URL is empty.*BUREAU_URL is empty/s)
  t.match(faultsOf({ WORKERS: '2' }).join(), 'the embedded store is not shared between processes')
  const whole = {
    VOUCHSAFE_MODE: 'production',
    REDIS_URL: 'redis://127.0.0.1:6379',
    BUREAU_URL: 'https://bureau',
  }
  t.same(faultsOf(whole), [])
  t.end()
})

t.test('a bureau that may take as long as is left beside a SAM service, and no longer', (t) => {
  const sam = { SAM_URL: 'https://sam.example' }
  t.same(faultsOf({ BUREAU_DEADLINE_MS: '2000' }), [])
  t.same(faultsOf({ ...sam, BUREAU_DEADLINE_MS: '1500' }), [])
  t.match(faultsOf({ ...sam, BUREAU_DEADLINE_MS: '1501' }).join(), /BUREAU_DEADLINE_MS = 1501 with SAM_URL/)
  t.match(faultsOf({ SAM_URL: 'http://sam.example' }).join(), /SAM_URL = .+Fix: set it to an https:/)
  t.end()
})
