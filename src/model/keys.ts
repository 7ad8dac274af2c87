/**
 * The layout of the keys in the store (schema 4).
 *
 * Keys under WATCHED_ROOT are watched and held in memory; keys under UNWATCHED_ROOT are only read when they are needed.
 * Every part of a key is a checked name without "/", except the last part of a config key, which may hold "/" because
 * nothing follows it. So different names give different keys, and the prefix of namespace "a" never covers namespace
 * "ab".
 */

/** The root of all keys that are watched. */
export const WATCHED_ROOT = 'w/';
/** The root of all other keys. */
export const UNWATCHED_ROOT = 'u/';
/**
 * The record that says which schema wrote the store and which schemas can read it. It is outside of both roots and
 * never moves. A program of any schema must find it; otherwise the program would mistake a full store for an empty one.
 */
export const SCHEMA_KEY = 'schema';
/** The record that barriers write. It is watched, so that its revision arrives; it holds nothing. */
export const BARRIER_KEY = `${WATCHED_ROOT}barrier`;

/** The names in a key of three parts. */
export interface KeyNames {
  readonly namespace: string;
  readonly scope: string;
  readonly name: string;
}

/** The three names in a key with this prefix. `undefined` if the key does not have that form. */
export function parseKey(prefix: string, key: string): KeyNames | undefined {
  if (!key.startsWith(prefix)) return undefined;
  const match = /^([^/]+)\/([^/]+)\/(.+)$/s.exec(key.slice(prefix.length));
  return match ? { namespace: match[1]!, scope: match[2]!, name: match[3]! } : undefined;
}

/** The names in a key with this prefix that names a service. `undefined` if the key does not have that form. */
export function parseServiceKey(prefix: string, key: string): KeyNames | undefined {
  const match = /^([^/]+)\/([^/]+)$/.exec(key.slice(prefix.length));
  return match ? { namespace: match[1]!, scope: match[2]!, name: '' } : undefined;
}
