import { statSync } from 'node:fs';
import { openDatabase } from './database.js';
import { dataFile, PAGE_BYTES, readBeginning } from './folder.js';
import { DATA_RANGE, decodeEntry, decodeMeta, fromDataKey, META_KEY } from './layout.js';

/** The offsets in a meta page of LMDB: a page header of 24 bytes, then magic, version, address, size and two trees. */
const META = { magic: 24, lastPage: 144, transaction: 152 } as const;
const MAGIC = 0xbeefc0de;

/**
 * Reads every record of a data folder. Returns the damage that it finds, or `undefined` if there is none. Throws
 * DamagedRecord, and may crash the process: LMDB maps the file into memory and trusts its contents.
 */
export function findDamage(folder: string): string | undefined {
  const { damage, transactions } = readMetaPages(dataFile(folder));
  if (damage) return damage;
  const database = openDatabase(folder, true);
  const metaBytes = database.getBinary(META_KEY);
  if (!metaBytes && transactions > 0n) return 'the record of the revision is missing';
  const meta = decodeMeta(metaBytes);
  let records = 0;
  for (const { key, value } of database.getRange(DATA_RANGE)) {
    const { modRevision } = decodeEntry(fromDataKey(key), value);
    if (modRevision > meta.revision) return `the record ${JSON.stringify(fromDataKey(key))} is newer than the store`;
    records++;
  }
  if (records !== meta.records) return `${meta.records} records were committed, and ${records} can be read`;
  return undefined;
}

/**
 * Reads LMDB's two meta pages. They hold the number of the last page, which the file must contain, and the number of
 * transactions so far.
 */
function readMetaPages(file: string): { damage: string | undefined; transactions: bigint } {
  const { size } = statSync(file);
  const bytes = readBeginning(file);
  const metas = [readMetaPage(bytes, 0), readMetaPage(bytes, PAGE_BYTES)].filter((meta) => meta !== undefined);
  if (metas.length === 0) return { damage: 'the file has no readable beginning', transactions: 0n };
  const { lastPage, transaction } = metas.reduce((a, b) => (a.transaction > b.transaction ? a : b));
  const needed = (Number(lastPage) + 1) * PAGE_BYTES;
  return { damage: size < needed ? `the file has ${size} bytes of ${needed}` : undefined, transactions: transaction };
}

/** Reads one meta page. `undefined` if the bytes are not a meta page. */
function readMetaPage(bytes: Buffer, at: number): { lastPage: bigint; transaction: bigint } | undefined {
  if (bytes.readUInt32LE(at + META.magic) !== MAGIC) return undefined;
  return {
    lastPage: bytes.readBigUInt64LE(at + META.lastPage),
    transaction: bytes.readBigUInt64LE(at + META.transaction),
  };
}
