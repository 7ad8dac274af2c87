import type { IEvent, IWatchRequest, IWatchResponse } from 'etcd3';
import { Backoff } from '../../base/backoff.js';
import { type Clock, delay } from '../../base/clock.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Random } from '../../base/random.js';
import {
  type Change,
  Compacted,
  type Entry,
  type KeyRange,
  type Revision,
  type RevisionBatch,
  RolledBack,
} from '../store.js';
import type { Endpoints } from './endpoints.js';
import { EtcdFailure, failureOf } from './failures.js';
import type { KeySpace } from './keys.js';
import { HISTORY_REPLACED, type Kv } from './kv.js';
import { COUNTERS } from '../instruments.js';

/** How long etcd may take to confirm a watch. It usually confirms at once, so a silent endpoint is given up. */
const CREATE_MAX_MS = 2_000;
/** How often a watch is probed, and how long the answer may take: a dead stream is replaced within 10 s. */
const PROGRESS_MS = 5_000;
/** Pauses between streams. The first is short, because all reads depend on the watch; the cap spares a dead etcd. */
const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 5_000;

/** The dependencies of a watch, and the range that it watches. */
export interface WatchParts {
  readonly endpoints: Endpoints;
  readonly kv: Kv;
  readonly keys: KeySpace;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  readonly range: KeyRange;
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
    const stream = new Stream(parts, AbortSignal.any([signal, historyEnded]));
    try {
      // A watch of a revision that etcd does not have yet waits, or delivers old events. So check the history first.
      await (seen ? kv.confirm(keys.key(seen.key), seen) : kv.probe());
      for await (const response of stream.responses(cursor, choice)) {
        for (const batch of batchesOf(response, keys)) {
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

/** One stream of etcd with one watch on it. */
class Stream {
  #end: (() => void) | undefined;
  #failure: Error | undefined;

  constructor(
    private readonly parts: WatchParts,
    private readonly signal: AbortSignal,
  ) {}

  /** Delivers whole responses: it joins the fragments of a large revision. Always ends with an error. */
  async *responses(after: Revision, choice: number): AsyncGenerator<readonly IEvent[]> {
    const { endpoints, keys, range } = this.parts;
    const client = await endpoints.streams(choice);
    try {
      const stream = (await client.etcd.watchClient.watch()) as unknown as DuplexStream;
      const alive = this.#supervise(stream);
      stream.write({
        create_request: { ...keys.range(range), start_revision: String(after + 1n), fragment: true },
      });
      let events: IEvent[] = [];
      for await (const response of stream) {
        alive(response.created);
        if (response.canceled) throw canceled(response);
        events.push(...response.events);
        if (response.fragment) continue;
        yield events; // a response without events still shows that the watch is alive
        events = [];
      }
    } catch (error) {
      throw this.#failure ?? error;
    } finally {
      client.release();
    }
    throw this.#failure ?? new EtcdFailure('UNREACHABLE', 'etcd ended the watch');
  }

  close(): void {
    this.#end?.();
    this.#end = undefined;
  }

  /** Cancels a stream that is not confirmed in time, or stops answering. Returns the function that notes an answer. */
  #supervise(stream: DuplexStream): (created: boolean) => void {
    const { clock } = this.parts;
    let answered = true;
    let confirmed = false;
    const giveUp = (reason: string): void => {
      this.#failure ??= new EtcdFailure('UNREACHABLE', reason);
      stream.cancel();
    };
    const creation = clock.after(CREATE_MAX_MS, () => confirmed || giveUp('etcd did not confirm the watch'));
    const probes = clock.every(PROGRESS_MS, () => {
      if (!answered) return giveUp('the watch of etcd does not answer');
      answered = false;
      stream.write({ progress_request: {} });
    });
    const onAbort = (): void => stream.cancel();
    this.signal.addEventListener('abort', onAbort);
    this.#end = () => {
      creation.cancel();
      probes.cancel();
      this.signal.removeEventListener('abort', onAbort);
      stream.on('error', () => undefined);
      stream.cancel();
    };
    return (created) => {
      answered = true;
      confirmed ||= created;
    };
  }
}

/** The part of the client library's stream that its types leave out. */
interface DuplexStream extends AsyncIterable<IWatchResponse> {
  write(request: IWatchRequest): void;
  cancel(): void;
  on(event: 'error', listener: (error: Error) => void): void;
}

/** The error of a watch that etcd canceled. */
function canceled({ compact_revision, cancel_reason }: IWatchResponse): Error {
  if (compact_revision !== '0') return new Compacted(`etcd has compacted its history up to ${compact_revision}`);
  return failureOf(new Error(cancel_reason || 'etcd canceled the watch'));
}

/** Groups events by revision. Events come in order, so those of one revision are next to each other. */
function* batchesOf(events: readonly IEvent[], keys: KeySpace): Generator<RevisionBatch> {
  let revision = 0n;
  let changes: Change[] = [];
  for (const { type, kv } of events) {
    const modRevision = BigInt(kv.mod_revision);
    if (modRevision !== revision && changes.length > 0) {
      yield { revision, changes };
      changes = [];
    }
    revision = modRevision;
    changes.push(
      type === 'Delete' ? { kind: 'delete', key: keys.nameOf(kv.key) } : { kind: 'put', entry: keys.entry(kv) },
    );
  }
  if (changes.length > 0) yield { revision, changes };
}
