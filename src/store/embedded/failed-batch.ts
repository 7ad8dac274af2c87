import { statfsSync } from 'node:fs';

// This file imports no lmdb: src/main.ts needs it for every command, and lmdb maps a native module into the process.

/** With less free space, a failed write counts as a full disk: LMDB may report a full disk as an I/O error. */
const FULL_BELOW_BYTES = 16 * 1_024 * 1_024;
/** With less free space than this, a retry would fail again. */
const RETRY_ABOVE_BYTES = FULL_BELOW_BYTES / 16;

/**
 * Returns true if a rejection only repeats that a batch of LMDB failed. LMDB rejects promises of the single writes that
 * it returns to no caller, beside the promise of the batch, which the store handles. As an unhandled rejection it says
 * nothing new, so the process must not end because of it.
 */
export function isEchoOfFailedBatch(error: unknown): boolean {
  return error instanceof Error && 'commitError' in error;
}

/** An error with the code that LMDB or the system gave it. */
export type BatchFailure = Error & { readonly code?: unknown };

/** Returns the reason of a failed batch. LMDB puts it into a promise of its own beside the error. */
export async function reasonOf(error: unknown): Promise<BatchFailure> {
  const inner = (error as { commitError?: Promise<never> }).commitError;
  if (inner instanceof Promise) return inner.catch((reason: unknown) => reason as Error);
  return error as Error;
}

/** Returns true if a batch failed because the disk that holds `folder` is full. */
export function isDiskFull({ code, message }: BatchFailure, folder: string): boolean {
  if (code === 'ENOSPC' || /MDB_MAP_FULL|No space left/.test(message)) return true;
  return freeBytes(folder) < FULL_BELOW_BYTES;
}

/** Returns true if the disk that holds `folder` has enough room to try a write. */
export function hasRoom(folder: string): boolean {
  return freeBytes(folder) >= RETRY_ABOVE_BYTES;
}

function freeBytes(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}
