import { existsSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { crc32 } from 'node:zlib';
import type { Revision } from '../store.js';
import { cleanMarker, DamagedStore, dataFile, readBeginning } from './folder.js';

/** Notes in a file that the store was closed cleanly, and how it left the data. */
export function writeCleanMarker(folder: string, revision: Revision): void {
  writeFileSync(cleanMarker(folder), `${revision} ${stateOf(dataFile(folder))}\n`);
}

/** Removes the note: from now on the end is not clean until it is written again. */
export function removeCleanMarker(folder: string): void {
  rmSync(cleanMarker(folder), { force: true });
}

/** How the last run left the data, and whether they are still so. */
export type LastEnd = 'NEW' | 'CLEAN' | 'UNCLEAN' | 'CHANGED';

/**
 * Compares the data with the note of the last run. CHANGED: the run ended cleanly, and the data file is another one now, for
 * example a copy that was cut. NEW: there is no data. Throws DamagedStore if data that were there are gone.
 */
export function lastEnd(folder: string): LastEnd {
  const file = dataFile(folder);
  const marker = existsSync(cleanMarker(folder)) ? readFileSync(cleanMarker(folder), 'utf8').trim() : undefined;
  const bytes = existsSync(file) ? statSync(file).size : 0;
  if (bytes === 0 && marker !== undefined) {
    const [revision] = marker.split(' ');
    throw new DamagedStore(folder, `data.mdb is missing or empty, and the last run left revision ${revision} there`);
  }
  if (!existsSync(file)) return 'NEW';
  if (marker === undefined) return 'UNCLEAN';
  return marker.endsWith(` ${stateOf(file)}`) ? 'CLEAN' : 'CHANGED';
}

/** The size of a data file, and a checksum of its beginning. */
function stateOf(file: string): string {
  return `${statSync(file).size} ${crc32(readBeginning(file))}`;
}
