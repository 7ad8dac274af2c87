import { Backoff } from '../../base/backoff.js';
import { delay } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Random } from '../../base/random.js';
import { Compacted, type Entry, type Revision, type RevisionBatch, RolledBack } from '../store.js';
import { failureOf } from './failures.js';
import { HISTORY_REPLACED, type Kv } from './kv.js';
import { COUNTERS } from '../instruments.js';
import { type StreamParts, WatchStream } from './watch-stream.js';

/** Pauses between streams. The first is short, because all reads depend on the watch; the cap spares a dead etcd. */
const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 5_000;

/** The dependencies of a watch, and the range that it watches. */
export interface WatchParts extends StreamParts {
  readonly kv: Kv;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

/** The origin of a listing. */
export interface Listed {
  /** Aborts when the history that the revisions of the listing belong to ends. */
  readonly historyEnded: AbortSignal;
  /** The entry that was written last. `undefined` if the listing held no entry. */
  newest: Entry | undefined;
}

/**
 * Watches a range over one stream after the other, until `signal` aborts.
 *
 * Throws Compacted, and RolledBack once the history that `after` belongs to has ended. To notice that, the watch
 * checks before each stream that the history still holds the entry it has seen last. Each stream begins after the last
 * delivered revision and never after the revision of a header: while etcd catches up, its headers run ahead.
 */
export async function* watchRange(
  parts: WatchParts,
  after: Revision,
  { historyEnded, newest }: Listed,
  signal: AbortSignal,
): AsyncGenerator<RevisionBatch> {
  const { endpoints, keys, kv, clock, telemetry } = parts;
  let seen = newest;
  const backoff = new Backoff(parts.random, RETRY_BASE_MS, RETRY_MAX_MS);
  let cursor = after;
  let choice = 0;
  while (!signal.aborted) {
    if (historyEnded.aborted) throw new RolledBack(HISTORY_REPLACED);
    endpoints.assertOpen();
    const stream = new WatchStream(parts, AbortSignal.any([signal, historyEnded]));
    try {
      // A watch of a revision that etcd does not have yet waits, or delivers old events. So check the history first.
      await (seen ? kv.confirm(keys.key(seen.key), seen) : kv.probe());
      for await (const { batches } of stream.responses(cursor, choice)) {
        for (const batch of batches) {
          if (batch.revision <= cursor) {
            telemetry.counters.add(COUNTERS.watch_repeats);
            continue;
          }
          cursor = batch.revision;
          for (const change of batch.changes) if (change.kind === 'put') seen = change.entry;
          yield batch;
          if (signal.aborted) return;
        }
        backoff.reset();
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Compacted) throw error;
      if (historyEnded.aborted) continue;
      const { kind, message } = failureOf(error);
      if (kind === 'TOKEN') endpoints.dropToken();
      telemetry.counters.add(COUNTERS.watch_restarts);
      telemetry.log.warn(
        { revision: Number(cursor), reason: message },
        'the watch of etcd ended; resuming at the next endpoint',
      );
      choice++;
      await delay(clock, backoff.nextMs(), signal);
    } finally {
      stream.close();
    }
  }
}
