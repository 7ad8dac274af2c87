import { ConfigRecord } from '../gen/rollcall/storage/v1/records.js';
import type { Config } from '../gen/rollcall/v1/config.js';
import { BadRecord, decode, type Item, type StoredEntry } from './item.js';
import { UNWATCHED_ROOT, WATCHED_ROOT } from './keys.js';
import { fromTimestamp } from './time.js';

/** The prefix of the key of every current config. */
export const CONFIGS = `${WATCHED_ROOT}c/`;
/** The prefix of the key of every kept config version. */
export const VERSIONS = `${UNWATCHED_ROOT}v/`;

/** The width of a version in a key: the number of digits of 2^63, so that keys sort by number. */
const VERSION_DIGITS = 19;

/** A config as the catalog holds it. A deleted config is a removed item. */
export interface ConfigItem extends Item {
  readonly config: Config;
  /** The encoded ConfigHistory; see config-history.ts. */
  readonly history: Uint8Array;
}

export function configKey(namespace: string, group: string, key: string): string {
  return `${CONFIGS}${namespace}/${group}/${key}`;
}

/** The prefix of the keys of all versions of a config. It begins no key of another config: no config key has "//". */
export function versionsPrefix(namespace: string, group: string, key: string): string {
  return `${VERSIONS}${namespace}/${group}/${key}//`;
}

export function versionKey(namespace: string, group: string, key: string, version: bigint): string {
  return versionsPrefix(namespace, group, key) + version.toString().padStart(VERSION_DIGITS, '0');
}

/** Reads the record at a config key, or at the key of a version. Throws BadRecord. */
export function readConfig({ key, value, modRevision }: Omit<StoredEntry, 'createRevision'>): ConfigItem {
  const { config: stored, history } = decode(key, value, ConfigRecord);
  if (!stored) throw new BadRecord(`${key} holds no config`);
  return {
    key: configKey(stored.namespace, stored.group, stored.key),
    namespace: stored.namespace,
    scope: stored.group,
    name: stored.key,
    revision: modRevision,
    modRevision,
    removedAtMs: stored.deleted ? fromTimestamp(stored.publishTime ?? { seconds: 0n, nanos: 0 }) : undefined,
    bytes: value.length,
    config: { ...stored, revision: modRevision },
    history: Uint8Array.from(history), // a copy, so that it does not keep the whole record in memory
  };
}

/** The bytes of a config record. The revision is not stored. Only the record of a current version has a history. */
export function writeConfig(writeId: string, config: Config, history: Uint8Array = NO_HISTORY): Uint8Array {
  return ConfigRecord.encode({ writeId, config: { ...config, revision: 0n }, history: Buffer.from(history) }).finish();
}

const NO_HISTORY = new Uint8Array(0);
