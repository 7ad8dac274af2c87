import { isIP } from 'node:net';

/** A host in the form that a port can follow: an IPv6 address in brackets. */
export const bracketed = (host: string): string => (host.includes(':') ? `[${host}]` : host);

/** Returns true for a host that only this machine can reach: "localhost", or an address of loopback. */
export function isLoopbackHost(host: string): boolean {
  if (host === 'localhost') return true;
  return isIP(host) === 4 ? host.startsWith('127.') : host === '::1';
}
