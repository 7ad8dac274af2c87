import { createHash } from 'node:crypto';
import { type FileHandle, open, realpath, rename, rm, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { BackupResponse_Begin as Begin } from '../../gen/rollcall/v1/admin_service.js';
import { backupEnd, backupHead } from '../../model/backup-file.js';
import { fromTimestamp } from '../../model/time.js';
import { CommandFailed, Exit } from '../exits.js';
import type { Session } from '../session.js';

/** Writes a copy of the store of a server into a file: beside it at first, and into its place once it is whole and on the disk. */
export async function backupTo(session: Session<unknown>, name: string): Promise<void> {
  const file = await realpath(name).catch(() => name); // the file that a link names is replaced, and not the link
  const there = await stat(file).catch(() => undefined);
  if (there && !there.isFile())
    throw new CommandFailed(`${name} is no file; name one, or a name that is free`, Exit.USAGE);
  const part = `${file}.part`;
  const target = await open(part, 'w', 0o600).catch((error: NodeJS.ErrnoException) => {
    throw new CommandFailed(`${part} cannot be written: ${error.code}`);
  });
  let begin: Begin;
  try {
    await target.chmod(0o600); // it may have been there with other rights
    begin = await receive(session, target);
    await target.sync();
    await rename(part, file);
    await syncFolder(dirname(file));
  } catch (error) {
    await rm(part, { force: true });
    throw error;
  } finally {
    await target.close();
  }
  await session.show(
    'admin.backup',
    { part: { $case: 'begin', value: begin } },
    () =>
      `${file} holds revision ${begin.revision}, ${begin.bytes} bytes. It holds secrets, too: keep it as one. "rollcall store restore" reads it.\n`,
  );
}

/** Writes everything that the server sends, and checks it. */
async function receive({ client, signal }: Session<unknown>, target: FileHandle): Promise<Begin> {
  const [whole, content] = [createHash('sha256'), createHash('sha256')];
  const write = async (bytes: Buffer): Promise<void> => {
    whole.update(bytes);
    await target.appendFile(bytes);
  };
  let begin: Begin | undefined;
  let bytes = 0n;
  for await (const { part } of client.admin.backup({}, { signal })) {
    if (part?.$case === 'begin') {
      begin = part.value;
      const { revision, serverVersion, time } = begin;
      const about = { revision: String(revision), bytes: Number(begin.bytes), serverVersion };
      await write(Buffer.from(backupHead({ ...about, time: new Date(fromTimestamp(time!)).toISOString() })));
    } else if (part?.$case === 'content') {
      bytes += BigInt(part.value.length);
      content.update(part.value);
      await write(part.value);
    } else if (part?.$case === 'end' && begin) {
      if (bytes !== begin.bytes || !content.digest().equals(part.value.sha256))
        throw new CommandFailed('the copy did not arrive as the server sent it; nothing was kept');
      await target.appendFile(backupEnd(whole.digest('hex')));
      return begin;
    }
  }
  throw new CommandFailed('the copy ended before it was whole; nothing was kept');
}

/** Has the name of a new file on the disk. */
async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
