import { accessSync, constants } from 'node:fs';
import type { Clock } from '../../base/clock.js';
import type { Log, Telemetry } from '../../base/telemetry.js';
import { checkFolder } from './check.js';
import { openDatabase } from './database.js';
import { EmbeddedStore } from './embedded-store.js';
import { lastEnd, removeCleanMarker } from './clean-end.js';
import { DamagedStore } from './folder.js';
import { removeCopy } from './folder-copy.js';
import { FolderLock } from './folder-lock.js';

/** The options of the embedded store. */
export interface EmbeddedOptions {
  /** The data folder. It is for this process alone, and is created if it does not exist. */
  readonly folder: string;
  /** The prefix of member keys. The members of the previous process are removed at the start. */
  readonly memberPrefix: string;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  /** Receives a failure after which the process must end, because the contents of the disk are unknown. */
  readonly onFatal: (error: Error) => void;
}

/**
 * Opens the embedded store of a folder: takes the folder, checks it unless it is as a clean end left it, and removes the members of
 * the previous process. Throws FolderHeld, DamagedStore, or an error that says what is wrong with the folder.
 */
export async function openEmbeddedStore(options: EmbeddedOptions): Promise<EmbeddedStore> {
  const { folder, clock } = options;
  const lock = await FolderLock.take(folder, clock).catch((error: unknown) => {
    throw describeFolderError(folder, error);
  });
  try {
    return await openLocked(options, lock);
  } catch (error) {
    await lock.close();
    throw describeFolderError(folder, error);
  }
}

async function openLocked({ telemetry, ...options }: EmbeddedOptions, lock: FolderLock): Promise<EmbeddedStore> {
  const { folder } = options;
  const log = telemetry.log.child('store');
  accessSync(folder, constants.R_OK | constants.W_OK);
  await checkUnlessClean(folder, log);
  removeCleanMarker(folder);
  removeCopy(folder);
  const database = openDatabase(folder);
  const store = new EmbeddedStore({ ...options, database, lock, telemetry: { ...telemetry, log } });
  await store.removeMembers();
  store.guardFile();
  return store;
}

/** Checks the data unless they are as a clean end left them. */
async function checkUnlessClean(folder: string, log: Log): Promise<void> {
  const end = lastEnd(folder);
  if (end === 'NEW' || end === 'CLEAN') return;
  const why =
    end === 'CHANGED' ? 'the data file is not the one that the last run left' : 'the last run did not end cleanly';
  log.warn({ folder }, `${why}; checking the data`);
  await checkFolder(folder);
}

/** Returns an error that says what is wrong with the folder, or the error unchanged if it is clear already. */
function describeFolderError(folder: string, error: unknown): unknown {
  const { code, name, message } = error as NodeJS.ErrnoException;
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS')
    return new Error(`the data folder ${folder} cannot be written: ${message}`, { cause: error });
  if (code === 'ENOTDIR' || code === 'EEXIST')
    return new Error(`the data folder ${folder} is not a folder`, { cause: error });
  if (code === 'ENOENT' || code === 'ENOSPC')
    return new Error(`the data folder ${folder} cannot be made: ${message}`, { cause: error });
  if (name === 'DamagedRecord') return new DamagedStore(folder, message);
  return error;
}
