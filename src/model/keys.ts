/**
 * The keys of the store. Every part is a checked name without "/", except the last part of a config key,
 * which may hold "/" because nothing follows it (versions put the number last and pad it). So the mapping
 * is injective, and the prefix of namespace "a" never sees namespace "ab".
 */

/** Names the history of the store. */
export const EPOCH_KEY = 'epoch';
/** Removals up to the revision in this record have been forgotten. */
export const HORIZON_KEY = 'horizon';
/** Rewritten by barriers. */
export const BARRIER_KEY = 'barrier';
/** Who wrote the store and who can read it. */
export const SCHEMA_KEY = 'schema';

/** Rewritten with every join: its revision names the set of members. */
export const MEMBERGEN_KEY = 'membergen';

/** Begins the key of every member. */
export const MEMBERS = 'm/';
/** Begins the key of what is remembered of a node's memberships. */
const NODES = 'x/';
/** Begins the key of every instance. */
export const INSTANCES = 'i/';
/** Begins the key of every current config. */
export const CONFIGS = 'c/';
/** Begins the key of the protection of every service that was ever protected. */
export const PROTECTIONS = 'p/';
/** Begins the key of every kept config version. */
export const VERSIONS = 'v/';
/** Begins the key of every remembered request. */
export const REQUESTS = 'r/';

/** The width of a version in a key: as many digits as 2^63 has, so that keys sort by number. */
const VERSION_DIGITS = 19;

export function instanceKey(namespace: string, service: string, id: string): string {
  return `${INSTANCES}${namespace}/${service}/${id}`;
}

export function protectionKey(namespace: string, service: string): string {
  return `${PROTECTIONS}${namespace}/${service}`;
}

export function memberKey(id: string): string {
  return MEMBERS + id;
}

/** The name of a node may hold anything; escaped, it is printable ASCII. */
export function nodeKey(node: string): string {
  return NODES + encodeURIComponent(node);
}

export function configKey(namespace: string, group: string, key: string): string {
  return `${CONFIGS}${namespace}/${group}/${key}`;
}

/** Begins the keys of all versions of a config. "//" cannot occur in a config key, so no key continues another. */
export function versionsPrefix(namespace: string, group: string, key: string): string {
  return `${VERSIONS}${namespace}/${group}/${key}//`;
}

export function versionKey(namespace: string, group: string, key: string, version: bigint): string {
  return versionsPrefix(namespace, group, key) + version.toString().padStart(VERSION_DIGITS, '0');
}

export function requestKey(namespace: string, requestId: string): string {
  return `${REQUESTS}${namespace}/${requestId}`;
}

/** The three parts of an instance key or of a config key. Undefined: it is none. */
export function parseKey(key: string): { namespace: string; scope: string; name: string } | undefined {
  const match = /^[ic]\/([^/]+)\/([^/]+)\/(.+)$/s.exec(key);
  return match ? { namespace: match[1]!, scope: match[2]!, name: match[3]! } : undefined;
}

/** The two parts of a protection key. Undefined: it is none. */
export function parseProtectionKey(key: string): { namespace: string; service: string } | undefined {
  const match = /^p\/([^/]+)\/([^/]+)$/.exec(key);
  return match ? { namespace: match[1]!, service: match[2]! } : undefined;
}
