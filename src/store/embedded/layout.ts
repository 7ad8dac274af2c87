import { crc32 } from 'node:zlib';
import type { Entry, Revision } from '../store.js';

/** Prefix of every record of the product. The store's own records have no such prefix. */
const DATA = 'k';
/** The key that holds the revision and the number of records. Every commit writes it. */
export const META_KEY = 'meta';
/** The header of a record: checksum, revision of the last write, revision of the creation. The value follows. */
const HEADER_BYTES = 4 + 8 + 8;

/** A record whose bytes differ from the bytes that were written. */
export class DamagedRecord extends Error {
  override readonly name = 'DamagedRecord';
}

export const toDataKey = (key: string): string => DATA + key;
export const fromDataKey = (key: string): string => key.slice(DATA.length);
/** The range of all data keys. */
export const DATA_RANGE = { start: DATA, end: String.fromCharCode(DATA.charCodeAt(0) + 1) };

export function encodeEntry({ key, value, modRevision, createRevision }: Entry): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + value.length);
  bytes.writeBigInt64LE(modRevision, 4);
  bytes.writeBigInt64LE(createRevision, 12);
  bytes.set(value, HEADER_BYTES);
  bytes.writeUInt32LE(checksum(key, bytes), 0);
  return bytes;
}

/**
 * Decodes a record. The value is a copy of its own size, because a slice would keep the larger buffer alive.
 * Throws DamagedRecord if the checksum is wrong.
 */
export function decodeEntry(key: string, bytes: Buffer): Entry {
  if (bytes.length < HEADER_BYTES || bytes.readUInt32LE(0) !== checksum(key, bytes)) {
    throw new DamagedRecord(`the record ${JSON.stringify(key)} is damaged: its checksum is wrong`);
  }
  return {
    key,
    value: new Uint8Array(bytes.subarray(HEADER_BYTES)),
    modRevision: bytes.readBigInt64LE(4),
    createRevision: bytes.readBigInt64LE(12),
  };
}

/** The store's own record. */
export interface Meta {
  readonly revision: Revision;
  readonly records: number;
}

export function encodeMeta({ revision, records }: Meta): Buffer {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES);
  bytes.writeBigInt64LE(revision, 4);
  bytes.writeBigInt64LE(BigInt(records), 12);
  bytes.writeUInt32LE(checksum(META_KEY, bytes), 0);
  return bytes;
}

/** Decodes the store's own record. A missing one is that of an empty store. Throws DamagedRecord. */
export function decodeMeta(bytes: Buffer | undefined): Meta {
  if (!bytes) return { revision: 0n, records: 0 };
  if (bytes.length !== HEADER_BYTES || bytes.readUInt32LE(0) !== checksum(META_KEY, bytes)) {
    throw new DamagedRecord('the record of the revision is damaged: its checksum is wrong');
  }
  return { revision: bytes.readBigInt64LE(4), records: Number(bytes.readBigInt64LE(12)) };
}

/** Covers the key, the revisions and the value. */
function checksum(key: string, bytes: Buffer): number {
  return crc32(bytes.subarray(4), crc32(key));
}
