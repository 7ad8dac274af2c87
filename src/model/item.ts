import { BinaryReader } from '@bufbuild/protobuf/wire';
import { decodeUtf8 } from '../base/utf8.js';

/** The fields of every item of the catalog. Items are immutable: a change makes a new item. */
export interface Item {
  /** The key in the store. */
  readonly key: string;
  /** Empty for a kind that belongs to no namespace. */
  readonly namespace: string;
  /** The service of an instance, the group of a config. Empty for a kind without scopes. */
  readonly scope: string;
  /** The id of an instance, the key of a config. Empty if a scope has one record of this kind. */
  readonly name: string;
  /** The revision of the last visible change, of the item or of a record that decides whether it is shown. */
  readonly revision: bigint;
  /** The revision of the last write: compares use it. */
  readonly modRevision: bigint;
  /** Wall-clock milliseconds of the removal. `undefined` if the item exists. */
  readonly removedAtMs: number | undefined;
  /** The size of the stored record. */
  readonly bytes: number;
}

/** A stored record, as the store returns it. */
export interface StoredEntry {
  readonly key: string;
  readonly value: Uint8Array;
  /** The revision of the last write. */
  readonly modRevision: bigint;
  /** The revision of the write that created the key. */
  readonly createRevision: bigint;
}

/** The write id and the time that a new write of a record carries. */
export interface Stamp {
  readonly writeId: string;
  /** Wall-clock milliseconds, for display. */
  readonly wallMs: number;
  /** The name of the node of this server. */
  readonly node: string;
}

/** A stored value that does not hold the record that its key names. */
export class BadRecord extends Error {
  override readonly name = 'BadRecord';
}

/** Decodes a record. Throws BadRecord, naming the key, whatever goes wrong, also if text in it is not UTF-8. */
export function decode<T>(key: string, value: Uint8Array, message: { decode(input: BinaryReader): T }): T {
  try {
    return message.decode(new BinaryReader(value, decodeUtf8));
  } catch (cause) {
    throw new BadRecord(`${key} does not decode`, { cause });
  }
}

/**
 * Throws BadRecord if a record claims a visible change after its own write. Such a record was copied from another store
 * by hand; it would be ahead of every cursor for ever.
 */
export function assertNotAhead(key: string, visibleRevision: bigint, modRevision: bigint): void {
  if (visibleRevision > modRevision) throw new BadRecord(`${key} claims a revision beyond its own write`);
}

/** The result of `read`, or `undefined` if the record cannot be read. */
export function ifReadable<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof BadRecord) return undefined;
    throw error;
  }
}
