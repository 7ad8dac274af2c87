import { mkdirSync, rmSync, statfsSync, statSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { type Revision, type StoreCopy, StoreRefused } from '../store.js';
import { type Database, openDatabase } from './database.js';
import { dataFile } from './folder.js';
import { decodeMeta, META_KEY } from './layout.js';

/** The bytes that are read from a copy at a time. */
const READ_BYTES = 256 * 1_024;

/** Where a copy lies while it is read: beside the data, because only there it is known to have a disk. */
const copyFolder = (folder: string): string => join(folder, 'copy');

/** Removes what a copy has left whose process died. */
export function removeCopy(folder: string): void {
  rmSync(copyFolder(folder), { recursive: true, force: true });
}

/**
 * Copies the data of a folder as LMDB's own copy of one read transaction does it: commits go on, and the pages that they free are
 * kept until it is over. Throws StoreRefused if the disk has no room for it.
 */
export async function copyFolderOf(folder: string, database: Database): Promise<StoreCopy> {
  const { bavail, bsize } = statfsSync(folder);
  const { size } = statSync(dataFile(folder));
  if (bavail * bsize < size)
    throw new StoreRefused('FULL', `a copy needs up to ${size} bytes, and the disk has ${bavail * bsize}`);
  const path = copyFolder(folder);
  removeCopy(folder);
  mkdirSync(path, { mode: 0o700 });
  const close = (): Promise<void> => {
    removeCopy(folder);
    return Promise.resolve();
  };
  try {
    await database.backup(path, true); // without the pages that are free
    const revision = await revisionOf(path);
    const file = dataFile(path);
    return { revision, bytes: statSync(file).size, content: contentOf(file), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Reads a file from its beginning to its end. */
async function* contentOf(file: string): AsyncGenerator<Uint8Array> {
  const source = await open(file, 'r');
  try {
    for (;;) {
      const { buffer, bytesRead } = await source.read(Buffer.allocUnsafe(READ_BYTES));
      if (bytesRead === 0) return;
      yield buffer.subarray(0, bytesRead);
    }
  } finally {
    await source.close();
  }
}

async function revisionOf(folder: string): Promise<Revision> {
  const copy = openDatabase(folder, true);
  try {
    return decodeMeta(copy.getBinary(META_KEY)).revision;
  } finally {
    await copy.close();
  }
}
