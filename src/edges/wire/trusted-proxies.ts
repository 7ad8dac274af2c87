import { BlockList, isIP } from 'node:net';
import type { AddressRange } from '../../base/hosts.js';

/** The header in which proxies write the addresses that a request came from, the nearest one last. */
export const FORWARDED_HEADER = 'x-forwarded-for';

/** The proxies whose word counts for the address of a client. */
export class TrustedProxies {
  readonly #addresses = new BlockList();

  constructor(private readonly ranges: readonly AddressRange[]) {
    for (const { address, bits } of ranges) this.#addresses.addSubnet(address, bits, familyOf(address));
  }

  /**
   * The address of the client behind a connection. A proxy appends the address that it was called from, so the last address
   * that no trusted proxy has is the client's; any before it may have been made up by the client.
   */
  clientOf(connected: string, forwarded: string | undefined): string {
    if (this.ranges.length === 0 || forwarded === undefined) return connected;
    const hops = forwarded.split(',');
    let client = connected;
    while (this.#has(client)) {
      const next = addressIn(hops.pop() ?? '');
      if (next === undefined) break;
      client = next;
    }
    return client;
  }

  #has(address: string): boolean {
    return isIP(address) !== 0 && this.#addresses.check(address, familyOf(address));
  }
}

const familyOf = (address: string): 'ipv4' | 'ipv6' => (isIP(address) === 6 ? 'ipv6' : 'ipv4');

/** The address in an element of the header, which may have a port; `undefined` if there is none. */
function addressIn(element: string): string | undefined {
  const text = element
    .trim()
    .replace(/^(\d+\.\d+\.\d+\.\d+):\d+$/, '$1')
    .replace(/^\[(.*)\](?::\d+)?$/, '$1')
    .replace(/^::ffff:(?=\d+\.)/i, '');
  return isIP(text) === 0 ? undefined : text;
}
