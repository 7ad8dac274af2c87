import { createHash } from 'node:crypto';
import type { Clock } from '../../base/clock.js';
import { BackupResponse } from '../../gen/rollcall/v1/admin_service.js';
import type { Replica } from '../../domain/replica.js';
import { RollcallError } from '../../model/errors.js';
import { toTimestamp } from '../../model/time.js';
import type { Sink } from '../call/sink.js';
import { encodeMessage } from '../call/wire.js';
import type { About } from './status.js';
import { isTaken, NO_PROGRESS_MAX_MS } from './taken.js';

/** The dependencies of a backup. */
export interface BackupParts {
  readonly replica: Pick<Replica, 'backups'>;
  readonly about: Pick<About, 'version'>;
  readonly clock: Clock;
}

/** Sends a copy of the store to one reader, and frees it however the stream ends. */
export async function sendBackup({ replica, about, clock }: BackupParts, sink: Sink): Promise<void> {
  const copy = await replica.backups.take();
  try {
    const { revision, bytes, content } = copy;
    const begin = { revision, bytes: BigInt(bytes), serverVersion: about.version, time: toTimestamp(clock.wall()) };
    await send(sink, clock, { part: { $case: 'begin', value: begin } });
    const hash = createHash('sha256');
    for await (const chunk of content) {
      if (sink.ended) return;
      hash.update(chunk);
      const value = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength);
      await send(sink, clock, { part: { $case: 'content', value } });
    }
    await send(sink, clock, { part: { $case: 'end', value: { sha256: hash.digest() } } });
    sink.complete();
  } finally {
    await copy.close();
  }
}

async function send(sink: Sink, clock: Clock, message: BackupResponse): Promise<void> {
  if (await isTaken(sink, clock, encodeMessage(BackupResponse, message))) return;
  throw new RollcallError('SLOW_READER', `the reader took nothing for ${NO_PROGRESS_MAX_MS / 1_000} s`);
}
