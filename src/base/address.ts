// What of an address names one asker: whoever has one IPv6 address has its whole /64 (RFC 6177).
import { isIPv6 } from 'node:net'

const groupsOf = (text: string) => (text === '' ? [] : text.split(':'))

/** An IPv4 address as it is, an IPv4 one mapped into IPv6 as IPv4, an IPv6 address as its first 64 bits. */
export function networkOf(address: string): string {
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)?.[1]
  if (mapped) return mapped
  const [bare = ''] = address.split('%') // Without the zone of a link-local address.
  if (!isIPv6(bare)) return address
  const [head = '', tail] = bare.split('::')
  const first = groupsOf(head)
  const last = tail === undefined ? [] : groupsOf(tail)
  const zeros = Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => '0')
  const groups = [...first, ...zeros, ...last].slice(0, 4)
  return `${groups.map((group) => Number.parseInt(group, 16).toString(16)).join(':')}::/64`
}
