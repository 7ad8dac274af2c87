import {
  batchesByRevision,
  Compacted,
  type Entry,
  type Past,
  type Revision,
  type RevisionBatch,
  StoreUnavailable,
} from '../store.js';
import { failureOf } from './failures.js';
import type { Kv } from './kv.js';
import { type StreamParts, WatchStream } from './watch-stream.js';

/** How often the watch of the past is asked whether it has delivered everything. */
const END_PROBE_MS = 1_000;
/**
 * The number of answers without an event between them that show that everything was delivered. One is not enough: an old
 * etcd may answer while it still catches up (etcd issue 15220).
 */
const END_ANSWERS = 2;

/** The dependencies of the past. */
export interface PastParts extends StreamParts {
  readonly kv: Kv;
  /** Reads the entries of the range at a revision. */
  readonly listAt: (revision: Revision) => AsyncIterable<readonly Entry[]>;
}

/** Reads the past of a range: see Store.past. */
export async function pastOf(parts: PastParts, until: Revision, signal: AbortSignal): Promise<Past> {
  const from = await oldestRevision(parts, signal);
  return { from, batches: batchesFrom(parts, from, until, signal) };
}

/** The oldest revision that etcd has not compacted. */
async function oldestRevision(parts: PastParts, signal: AbortSignal): Promise<Revision> {
  const { kv, keys, range } = parts;
  try {
    await kv.range({ ...keys.range(range), revision: '1', limit: 1, count_only: true });
    return 1n;
  } catch (error) {
    if (failureOf(error).kind !== 'COMPACTED') throw error;
  }
  // Only the refusal of a watch names the revision.
  const stream = new WatchStream(parts, signal);
  try {
    const answers = stream.responses(0n, 0);
    while (!(await answers.next()).done);
  } catch (error) {
    if (error instanceof Compacted && error.oldest !== undefined) return error.oldest;
    throw error;
  } finally {
    stream.close();
  }
  throw new StoreUnavailable('etcd did not say which revision is its oldest');
}

async function* batchesFrom(
  parts: PastParts,
  from: Revision,
  until: Revision,
  signal: AbortSignal,
): AsyncGenerator<RevisionBatch> {
  const entries: Entry[] = [];
  for await (const page of parts.listAt(from)) entries.push(...page);
  yield* batchesByRevision(entries);
  const stream = new WatchStream(parts, signal, END_PROBE_MS);
  let quietAnswers = 0;
  try {
    for await (const { batches, newest, isProgress } of stream.responses(from, 0)) {
      for (const batch of batches) {
        if (batch.revision > until) return;
        yield batch;
      }
      quietAnswers = isProgress && newest >= until ? quietAnswers + 1 : 0;
      if (quietAnswers === END_ANSWERS) return;
    }
  } finally {
    stream.close();
  }
}
