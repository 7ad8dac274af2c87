import { BlockList, isIP, isIPv4 } from 'node:net';
import { canonicalIp } from './address.js';

/** Addresses that are never probed: this host by another name, link-local and metadata services of clouds, groups. */
const NEVER = [
  ...['0.0.0.0/8', '169.254.0.0/16', '224.0.0.0/4', '240.0.0.0/4'],
  ...['100.100.100.200/32', '168.63.129.16/32', '192.0.0.192/32'],
  ...['::/128', 'fe80::/10', 'fec0::/10', 'ff00::/8', 'fd00:ec2::254/128', 'fd20:ce::254/128'],
  // These carry an IPv4 address that is not certain.
  ...['2001::/32', '64:ff9b:1::/48'],
];
const LOOPBACK = ['127.0.0.0/8', '::1/128'];

/** The addresses that are probed unless the operator says otherwise: private networks. */
export const PRIVATE_NETWORKS = ['10.0.0.0/8', '172.16.0.0/12', '192.168.0.0/16', '100.64.0.0/10', 'fc00::/7'];
/** The ports that are probed unless the operator says otherwise: those of web servers, and all above the system's. */
export const DEFAULT_PORTS = '80,443,1024-2374,2381-6442,6444-10249,10251-10254,10256-65535';

/** Forms of IPv6 that carry an IPv4 address, with the position of its first byte: NAT64, 6to4, and deprecated ones. */
const CARRIERS: readonly (readonly [BlockList, number])[] = [
  [blockList(['64:ff9b::/96']), 12],
  [blockList(['2002::/16']), 2],
  [blockList(['::/96']), 12],
];

/** An address and port that belong to this product or its store. */
export interface OwnPlace {
  /** Empty: every address. */
  readonly ip: string;
  readonly port: number;
}

/** The settings of a rule, as texts that were checked. */
export interface ProbeRuleSettings {
  /** Networks that may be probed, as "address/bits". */
  readonly networks: readonly string[];
  /** Ports that may be probed, as "80,443,1024-65535". */
  readonly ports: string;
  /** True if addresses of this machine may be probed: the server itself is bound to one. */
  readonly loopback: boolean;
}

/**
 * Decides which addresses and ports this server may probe. It is asked about the address that a probe connects to, after
 * resolution, every time.
 */
export class ProbeRule {
  readonly #never: BlockList;
  readonly #allowed: BlockList;
  readonly #ports: readonly (readonly [number, number])[];

  constructor({ networks, ports, loopback }: ProbeRuleSettings) {
    this.#never = blockList(loopback ? NEVER : [...NEVER, ...LOOPBACK]);
    this.#allowed = blockList(loopback ? [...networks, ...LOOPBACK] : networks);
    this.#ports = parsePorts(ports)!;
  }

  /** The reason why a place must not be probed. `undefined` if it may be. */
  refusal(ip: string, port: number, own: readonly OwnPlace[]): string | undefined {
    const address = canonicalIp(ip);
    const carried = carriedIpv4(address);
    for (const one of carried ? [address, carried] : [address])
      if (this.#never.check(one, family(one))) return 'this address is never probed';
    if (!this.#allowed.check(address, family(address)))
      return 'the servers may not probe this address (--check-networks)';
    if (!this.#ports.some(([from, to]) => port >= from && port <= to))
      return 'the servers may not probe this port (--check-ports)';
    const isOwn = own.some((place) => place.port === port && (place.ip === '' || canonicalIp(place.ip) === address));
    return isOwn ? 'this is a port of the servers or of their store' : undefined;
  }
}

/** Why this server does not probe an address for an instance that registered from another. `undefined` if it may. */
export function refusalOf(
  rule: ProbeRule,
  onlyRegistrants: boolean,
  registrant: string,
  ip: string,
  port: number,
  own: readonly OwnPlace[],
): string | undefined {
  if (onlyRegistrants && canonicalIp(ip) !== canonicalIp(registrant))
    return 'the servers probe only the address from which an instance registered (--checks)';
  return rule.refusal(ip, port, own);
}

/** The ranges in a text such as "80,1024-65535". `undefined` if it is none. */
export function parsePorts(text: string): [number, number][] | undefined {
  const ranges: [number, number][] = [];
  for (const part of text.split(',')) {
    const found = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (!found) return undefined;
    const from = Number(found[1]);
    const to = Number(found[2] ?? found[1]);
    if (from < 1 || to > 65_535 || from > to) return undefined;
    ranges.push([from, to]);
  }
  return ranges;
}

/** Returns true if a text is a network, such as "10.0.0.0/8". */
export function isNetwork(text: string): boolean {
  const [address = '', bits = '', ...rest] = text.split('/');
  const max = { 0: -1, 4: 32, 6: 128 }[isIP(address)]!;
  return rest.length === 0 && /^\d{1,3}$/.test(bits) && Number(bits) <= max;
}

/** The IPv4 address within an IPv6 address. `undefined` if it carries none. An address in mapped form is IPv4 already. */
function carriedIpv4(address: string): string | undefined {
  if (isIP(address) !== 6 || address === '::1') return undefined;
  const carrier = CARRIERS.find(([list]) => list.check(address, 'ipv6'));
  if (!carrier) return undefined;
  const bytes = bytesOf(address);
  return bytes.slice(carrier[1], carrier[1] + 4).join('.');
}

function bytesOf(address: string): number[] {
  const [head = '', tail] = address.split('::');
  const groups = (text: string): number[] =>
    text === ''
      ? []
      : text.split(':').flatMap((group) => {
          if (isIPv4(group)) return group.split('.').map(Number);
          const value = parseInt(group, 16);
          return [value >> 8, value & 0xff];
        });
  const before = groups(head);
  const after = tail === undefined ? [] : groups(tail);
  return [...before, ...Array<number>(16 - before.length - after.length).fill(0), ...after];
}

function blockList(networks: readonly string[]): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = '', bits = ''] = network.split('/');
    list.addSubnet(address, Number(bits), family(address));
  }
  return list;
}

function family(ip: string): 'ipv4' | 'ipv6' {
  return isIP(ip) === 6 ? 'ipv6' : 'ipv4';
}
