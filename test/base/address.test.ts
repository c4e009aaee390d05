// One asker, one name, however the address is written.
import t from 'tap'
import { networkOf } from '../../src/base/address.ts'

t.test('an IPv6 asker is its /64, an IPv4 one its address', (t) => {
  const table = [
    ['192.0.2.7', '192.0.2.7'],
    ['::ffff:192.0.2.7', '192.0.2.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:db8:1:2:ffff::1', '2001:db8:1:2::/64'],
    ['2001:DB8:1:2::', '2001:db8:1:2::/64'],
    ['2001:db8::1', '2001:db8:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['not an address', 'not an address'],
  ] as const
  for (const [address, network] of table) t.equal(networkOf(address), network, address)
  t.end()
})
