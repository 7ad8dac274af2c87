import { BlockList, isIP, SocketAddress } from 'node:net';
import { LIMITS } from './limits.js';

/** The longest label of a host name (RFC 1035). */
const LABEL_CHARS_MAX = 63;
/** Letters, digits, "-" and "_", in labels without empty ones. "_" is no part of a host name, but people have it. */
const HOST = /^(?!.*\.\.)[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?$/;
/** A last label that is a number, as resolvers understand it: such a name is read as an IPv4 address, or refused. */
const NUMBER = /^([0-9]+|0[xX][0-9A-Fa-f]*)$/;

/** Addresses that no client can connect to, with what they are. */
const UNUSABLE: readonly (readonly [words: string, ...subnets: (readonly [address: string, prefix: number])[]])[] = [
  ['an unspecified address: give the address that clients connect to', ['0.0.0.0', 32], ['::', 128]],
  ['a multicast address', ['224.0.0.0', 4], ['ff00::', 8]],
  ['the broadcast address', ['255.255.255.255', 32]],
];
/** All of them in one list: a look-up costs some microseconds, and nearly every address is usable. */
const ALL_UNUSABLE = blockList(...UNUSABLE.flatMap(([, ...subnets]) => subnets));
/** The loopback addresses in their canonical form, and the names that stand for them. */
const LOOPBACK = /^(127\.\d+\.\d+\.\d+|::1|(.*\.)?localhost)$/i;
/** An IPv4 address in IPv6 form, as SocketAddress writes it. */
const MAPPED = '::ffff:';

/** The canonical form of an address, or the reason why it is refused. */
export type AddressVerdict = { readonly address: string } | { readonly refusal: string };

/** Checks an IP address or host name, and brings an IP address into its canonical form. */
export function readAddress(given: string): AddressVerdict {
  const { value: max } = LIMITS.ADDRESS_CHARS;
  if (given.length > max) return { refusal: `must be up to ${max} characters; it has ${given.length}` };
  if (isIP(given) === 0) return HOST.test(given) ? readHost(given) : { refusal: refusalOf(given) };
  if (given.includes('%')) return { refusal: 'must be an address without a zone: a zone means nothing to others' };
  const address = canonicalIp(given);
  if (!ALL_UNUSABLE.check(address, family(address))) return { address };
  const [words] = UNUSABLE.find(([, ...subnets]) => blockList(...subnets).check(address, family(address)))!;
  return { refusal: `is ${words}` };
}

/** Returns true if the address, in its canonical form, is one of this machine only. */
export function isLoopback(address: string): boolean {
  return LOOPBACK.test(address);
}

/** The canonical form of an IP address: an IPv4 address in IPv6 form becomes IPv4, other IPv6 as in RFC 5952. */
export function canonicalIp(ip: string): string {
  if (isIP(ip) !== 6) return ip;
  const { address } = new SocketAddress({ address: ip, family: 'ipv6' });
  const inner = address.startsWith(MAPPED) ? address.slice(MAPPED.length) : '';
  return isIP(inner) === 4 ? inner : address;
}

function readHost(given: string): AddressVerdict {
  const labels = given.split('.');
  if (NUMBER.test(labels.at(-1)!))
    return { refusal: 'must be an IP address or a host name: a name whose last label is a number is neither' };
  if (labels.some(({ length }) => length > LABEL_CHARS_MAX))
    return { refusal: `must have labels of up to ${LABEL_CHARS_MAX} characters` };
  return { address: given };
}

/** Why a text is no address, with the right spelling where the mistake is a common one. */
function refusalOf(given: string): string {
  const rule = 'must be an IP address or a host name';
  const [, bracketed, bare, port] = /^(?:\[([^\]]*)\]|([^:]+))(?::([0-9]{1,5}))?$/.exec(given) ?? [];
  const address = (bracketed ?? bare ?? given).replace(/\.$/, '');
  const isOne = 'address' in (address === given ? {} : readAddress(address));
  if (!isOne) return rule;
  return port === undefined ? `${rule}; write "${address}"` : `${rule}; write "${address}", and port ${port} in "port"`;
}

function blockList(...subnets: readonly (readonly [address: string, prefix: number])[]): BlockList {
  const list = new BlockList();
  for (const [address, prefix] of subnets) list.addSubnet(address, prefix, family(address));
  return list;
}

function family(ip: string): 'ipv4' | 'ipv6' {
  return isIP(ip) === 6 ? 'ipv6' : 'ipv4';
}
