import { open, type RootDatabase } from 'lmdb';

/** The most bytes of a key: namespace, group, key and version of a config with their separators, as UTF-8. */
const KEY_BYTES_MAX = 1_024;

/** An open LMDB environment with text keys and byte values. LMDB stores the keys as UTF-8 and sorts them by bytes. */
export type Database = RootDatabase<Buffer, string>;

/** Opens the environment of a data folder. */
export function openDatabase(folder: string, readOnly = false): Database {
  return open<Buffer, string>({
    path: folder,
    noSubdir: false, // otherwise LMDB takes a folder name with a dot for a file name
    encoding: 'binary',
    maxKeySize: KEY_BYTES_MAX,
    readOnly,
    // With overlapping syncs, a write whose flush failed can be read all the same.
    overlappingSync: false,
  } as Parameters<typeof open<Buffer, string>>[0]);
}
