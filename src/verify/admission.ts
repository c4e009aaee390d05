// Row 3 of the order of checks: whether the asker is admitted now (PROTOCOL sections 0.5, 7, 12).
import { GatewayError } from '../base/errors.ts'
import type { DeviceStanding, Services } from './services.ts'

export type Asker = { device: Buffer; carrier: string; firmware: number }

/** A registry that cannot be read is no answer about anybody. */
async function readStandings(registry: Services['registry'], asker: Asker) {
  try {
    return { device: await registry.device(asker.device), carrier: await registry.carrier(asker.carrier) }
  } catch (cause) {
    throw new GatewayError('registry_stale', 'registry_unread', { cause })
  }
}

type Needs = Pick<Services, 'registry' | 'clock' | 'minFirmware'>

/** Fresh news, active device, active carrier that is still the device's, firmware new enough. Throws. */
export async function assertAdmitted(services: Needs, asker: Asker): Promise<DeviceStanding> {
  const { registry, clock } = services
  if (!registry.isFresh()) throw new GatewayError('registry_stale', 'registry_stale')
  const { device, carrier } = await readStandings(registry, asker)
  if (!device) throw new GatewayError('device_inactive', 'device_unknown')
  if (device.status !== 'active') throw new GatewayError('device_inactive', 'device_revoked')
  if (device.notAfterMs <= clock.now()) throw new GatewayError('device_inactive', 'device_key_ended')
  if (carrier?.status !== 'active') throw new GatewayError('carrier_suspended', 'carrier_not_active')
  if (device.carrier !== asker.carrier) throw new GatewayError('device_inactive', 'device_of_another_carrier')
  if (asker.firmware < services.minFirmware) throw new GatewayError('firmware_too_old', 'firmware_too_old')
  return device
}
