import { spawn } from 'node:child_process';
import { existsSync, openSync, readSync, closeSync, statSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { openDatabase } from './database.js';
import { DATA_RANGE, decodeEntry, decodeMeta, fromDataKey, META_KEY } from './layout.js';

/** The data is damaged: the text says what, and what to do. */
export class DamagedStore extends Error {
  override readonly name = 'DamagedStore';
  constructor(folder: string, what: string) {
    super(
      `the data in ${folder} is damaged: ${what}. Nothing was changed. Restore the folder from a backup, or move it away to begin with an empty store`,
    );
  }
}

/** The file that holds everything. */
export const dataFile = (folder: string): string => join(folder, 'data.mdb');

/**
 * Checks a data folder in a process of its own, because LMDB crashes the process that reads a damaged file.
 * Throws DamagedStore.
 */
export async function checkFolder(folder: string): Promise<void> {
  if (!existsSync(dataFile(folder))) return;
  const script = fileURLToPath(import.meta.url);
  const loader = extname(script) === '.ts' ? process.execArgv : [];
  const child = spawn(process.execPath, [...loader, script, folder], { stdio: ['ignore', 'ignore', 'pipe'] });
  let text = '';
  child.stderr.on('data', (bytes: Buffer) => (text += bytes.toString()));
  const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (...end) => resolve(end));
  });
  if (code === 0) return;
  const finding = /^damage: (.*)$/m.exec(text)?.[1];
  throw new DamagedStore(folder, finding ?? `reading it ended with ${signal ?? `exit code ${code}`}`);
}

/** Reads every record; returns what is wrong. */
function findDamage(folder: string): string | undefined {
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

/** LMDB's two meta pages say which page is the last, which the file must hold, and how many transactions there were. */
function readMetaPages(file: string): { damage: string | undefined; transactions: bigint } {
  const { size } = statSync(file);
  const bytes = Buffer.alloc(2 * PAGE_BYTES);
  const descriptor = openSync(file, 'r');
  readSync(descriptor, bytes, 0, bytes.length, 0);
  closeSync(descriptor);
  const metas = [readMetaPage(bytes, 0), readMetaPage(bytes, PAGE_BYTES)].filter((meta) => meta !== undefined);
  if (metas.length === 0) return { damage: 'the file has no readable beginning', transactions: 0n };
  const { lastPage, transaction } = metas.reduce((a, b) => (a.transaction > b.transaction ? a : b));
  const needed = (Number(lastPage) + 1) * PAGE_BYTES;
  return { damage: size < needed ? `the file has ${size} bytes of ${needed}` : undefined, transactions: transaction };
}

const PAGE_BYTES = 4_096;
/** Where LMDB's meta page keeps things: a page header of 24 bytes, then magic, version, address, size and two trees. */
const META = { magic: 24, lastPage: 144, transaction: 152 } as const;
const MAGIC = 0xbeefc0de;

function readMetaPage(bytes: Buffer, at: number): { lastPage: bigint; transaction: bigint } | undefined {
  if (bytes.readUInt32LE(at + META.magic) !== MAGIC) return undefined;
  return {
    lastPage: bytes.readBigUInt64LE(at + META.lastPage),
    transaction: bytes.readBigUInt64LE(at + META.transaction),
  };
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const damage = findDamage(process.argv[2]!);
    if (damage) process.stderr.write(`damage: ${damage}\n`);
    process.exit(damage ? 1 : 0);
  } catch (error) {
    process.stderr.write(`damage: ${(error as Error).message}\n`);
    process.exit(1);
  }
}
