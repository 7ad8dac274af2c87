import { open, type RootDatabase } from 'lmdb';

/** The largest key: namespace, group, key and version of a config with their separators. */
const KEY_BYTES_MAX = 1_024;

/** An open LMDB environment with text keys and byte values. */
export type Database = RootDatabase<Buffer, string>;

/** Opens the environment of a data folder. */
export function openDatabase(folder: string, readOnly = false): Database {
  return open<Buffer, string>({
    path: folder,
    noSubdir: false, // otherwise a name with a dot is taken for that of a file
    encoding: 'binary',
    maxKeySize: KEY_BYTES_MAX,
    readOnly,
    // With overlapping syncs a write whose flush failed can be read all the same.
    overlappingSync: false,
  } as Parameters<typeof open<Buffer, string>>[0]);
}

/**
 * True: a rejection that LMDB makes for a batch that failed, in promises that nobody is given, beside the one that
 * the store holds and deals with. As an unhandled rejection it says nothing new.
 */
export function isEchoOfFailedBatch(error: unknown): boolean {
  return error instanceof Error && 'commitError' in error;
}
