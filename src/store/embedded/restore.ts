import { createHash } from 'node:crypto';
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Clock } from '../../base/clock.js';
import {
  BACKUP_END_BYTES,
  BACKUP_HEAD_MAX,
  backupEnd,
  type BackupHead,
  readBackupHead,
} from '../../model/backup-file.js';
import { checkFolder } from './check.js';
import { cleanMarker, dataFile, lockFile } from './folder.js';
import { FolderLock } from './folder-lock.js';

/** The bytes that are copied at a time. */
const COPY_BYTES = 1_024 * 1_024;

/** Where the data lie until they are known to be whole: a restore that is cut off leaves a folder without data. */
const unfinished = (folder: string): string => join(folder, 'restore');

/**
 * Puts the data of a backup into a folder that has none: checks the file and then the data, as after an unclean end, has
 * `complete` finish the data in a folder of its own, and moves them to their place. Throws an error that says what is wrong; the
 * folder then has no data.
 */
export async function restoreFolder<T>(
  { file, folder, clock }: { readonly file: string; readonly folder: string; readonly clock: Clock },
  complete: (folder: string) => Promise<T>,
): Promise<{ readonly head: BackupHead; readonly completed: T }> {
  const source = await open(file, 'r').catch((error: NodeJS.ErrnoException) => {
    throw new Error(`the backup ${file} cannot be read: ${error.code}`, { cause: error });
  });
  try {
    const { head, length } = await readHead(source, file);
    const lock = await FolderLock.take(folder, clock);
    const path = unfinished(folder);
    try {
      assertEmpty(folder);
      rmSync(path, { recursive: true, force: true });
      mkdirSync(path, { mode: 0o700 });
      await copyData(source, file, { head, length }, dataFile(path));
      await checkFolder(path);
      const completed = await complete(path);
      // The note of a clean end comes first: data without it would be checked again, and the note alone says nothing.
      for (const one of [cleanMarker(path), dataFile(path)]) if (existsSync(one)) move(one, folder);
      return { head, completed };
    } finally {
      rmSync(path, { recursive: true, force: true });
      await lock.close();
    }
  } finally {
    await source.close();
  }
}

/** Only a folder without anything is restored into: what lies there may be data. */
function assertEmpty(folder: string): void {
  const own = [basename(lockFile(folder)), basename(unfinished(folder))];
  const found = readdirSync(folder).find((name) => !own.includes(name));
  if (found !== undefined)
    throw new Error(`the data folder ${folder} is not empty: it has ${found}. Restore into a new one, or move it away`);
}

async function readHead(source: FileHandle, file: string): Promise<{ head: BackupHead; length: number }> {
  const { buffer, bytesRead } = await source.read(Buffer.alloc(BACKUP_HEAD_MAX), 0, BACKUP_HEAD_MAX, 0);
  const length = buffer.subarray(0, bytesRead).indexOf('\n') + 1;
  const head = length > 0 ? readBackupHead(buffer.toString('utf8', 0, length - 1)) : undefined;
  if (!head) throw new Error(`${file} is not a backup that this version reads`);
  const { size } = await source.stat();
  const whole = length + head.bytes + BACKUP_END_BYTES;
  if (size !== whole) throw new Error(`the backup ${file} is not whole: it has ${size} bytes of ${whole}`);
  return { head, length };
}

/** Copies the data, and compares the checksum over everything before it. */
async function copyData(
  source: FileHandle,
  file: string,
  { head, length }: { readonly head: BackupHead; readonly length: number },
  target: string,
): Promise<void> {
  const hash = createHash('sha256');
  const read = async (bytes: number, at: number): Promise<Buffer> => {
    const { buffer, bytesRead } = await source.read(Buffer.alloc(bytes), 0, bytes, at);
    return buffer.subarray(0, bytesRead);
  };
  hash.update(await read(length, 0));
  const written = await open(target, 'wx', 0o600);
  try {
    const end = length + head.bytes;
    for (let at = length; at < end;) {
      const bytes = await read(Math.min(COPY_BYTES, end - at), at);
      if (bytes.length === 0) throw new Error(`the backup ${file} was cut while it was read`);
      hash.update(bytes);
      await written.write(bytes);
      at += bytes.length;
    }
    await written.sync();
    const found = (await read(BACKUP_END_BYTES, end)).toString();
    if (found !== backupEnd(hash.digest('hex')))
      throw new Error(`the backup ${file} is damaged: its checksum is wrong`);
  } finally {
    await written.close();
  }
}

/** Moves a file into a folder for good. */
function move(file: string, folder: string): void {
  renameSync(file, join(folder, basename(file)));
  const descriptor = openSync(folder, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
