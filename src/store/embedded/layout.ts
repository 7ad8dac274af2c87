import { crc32 } from 'node:zlib';
import type { Entry, Revision } from '../store.js';

/** Every record of the product is under this prefix; what the store keeps for itself is not. */
const DATA = 'k';
/** Holds the revision and the number of records, written with every commit. */
export const META_KEY = 'meta';
/** A record: checksum, revision of the last write, revision of the creation, value. */
const HEADER_BYTES = 4 + 8 + 8;

/** A record whose bytes are not what was written. */
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

/** Reads a record back. The value is a copy of its own size: a slice would keep the buffer under it alive. */
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

/** What the store keeps for itself. */
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

export function decodeMeta(bytes: Buffer | undefined): Meta {
  if (!bytes) return { revision: 0n, records: 0 };
  if (bytes.length !== HEADER_BYTES || bytes.readUInt32LE(0) !== checksum(META_KEY, bytes)) {
    throw new DamagedRecord('the record of the revision is damaged: its checksum is wrong');
  }
  return { revision: bytes.readBigInt64LE(4), records: Number(bytes.readBigInt64LE(12)) };
}

function checksum(key: string, bytes: Buffer): number {
  return crc32(bytes.subarray(4), crc32(key));
}
