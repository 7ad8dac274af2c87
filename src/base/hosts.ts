import { isIP } from 'node:net';

/** A host in the form that a port can follow: an IPv6 address in brackets. */
export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** The network by which a client is counted: an IPv4 address, or the first 64 bits of an IPv6 address, which one client has. */
export function networkOf(address: string): string {
  if (isIP(address) !== 6) return address;
  const [head = '', tail = ''] = address.split('::');
  const before = head === '' ? [] : head.split(':');
  const after = tail === '' ? [] : tail.split(':');
  const groups = [
    ...before,
    ...Array.from({ length: Math.max(8 - before.length - after.length, 0) }, () => '0'),
    ...after,
  ];
  return `${groups
    .slice(0, 4)
    .map((group) => parseInt(group, 16).toString(16))
    .join(':')}::/64`;
}

/** A range of IP addresses. */
export interface AddressRange {
  readonly address: string;
  /** The number of leading bits that all addresses of the range share. */
  readonly bits: number;
}

/** Returns true for a host that only this machine can reach: "localhost", or an address of loopback. */
export function isLoopbackHost(host: string): boolean {
  if (host === 'localhost') return true;
  return isIP(host) === 4 ? host.startsWith('127.') : host === '::1';
}
