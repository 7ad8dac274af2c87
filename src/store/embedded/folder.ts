import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';

/** The data folder is damaged. The text says how, and what to do. */
export class DamagedStore extends Error {
  override readonly name = 'DamagedStore';
  constructor(folder: string, damage: string) {
    super(
      `the data in ${folder} is damaged: ${damage}. Nothing was changed. Restore the folder from a backup, or move it away to begin with an empty store`,
    );
  }
}

/** The file that holds all records. */
export const dataFile = (folder: string): string => join(folder, 'data.mdb');
/** The file that exists only after a clean end. */
export const cleanMarker = (folder: string): string => join(folder, 'clean');
/** The file by which processes that share the folder, but not the network, see its holder. */
export const lockFile = (folder: string): string => join(folder, 'lock');

/** A page of LMDB. */
export const PAGE_BYTES = 4_096;

/** Reads the beginning of a data file: LMDB's two meta pages, which every commit changes. A shorter file is filled up with zeros. */
export function readBeginning(file: string): Buffer {
  const bytes = Buffer.alloc(2 * PAGE_BYTES);
  const descriptor = openSync(file, 'r');
  try {
    readSync(descriptor, bytes, 0, bytes.length, 0);
  } finally {
    closeSync(descriptor);
  }
  return bytes;
}
