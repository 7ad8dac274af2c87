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
import type { Kv } from './kv.js';

/** etcd confirms a watch at once; a member that has not within this is given up. */
const CREATE_MAX_MS = 2_000;
/** How often a watch is asked whether it lives, and how long the answer may take: a dead one is replaced in 10 s. */
const PROGRESS_MS = 5_000;
/** Waits between streams: short, because everything waits for the watch; capped, so that a dead etcd is left alone. */
const RETRY_BASE_MS = 50;
const RETRY_MAX_MS = 5_000;

/** What a watch is made from. */
export interface WatchParts {
  readonly endpoints: Endpoints;
  readonly kv: Kv;
  readonly keys: KeySpace;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
}

/** What a listing came from. */
export interface Listed {
  /** Aborted when the history that its revisions belong to is over. */
  readonly history: AbortSignal;
  /** The entry that was written last. Undefined: there was none. */
  newest: Entry | undefined;
}

/**
 * Watches a range over one stream after the other, until `signal` is aborted. Ends with Compacted, and with RolledBack
 * once the history to which `after` belongs is over: before a stream is opened the entry that was seen last is looked for
 * in it. Each stream begins behind the last revision that was delivered, never
 * behind what a header says: in the middle of catching up etcd stamps its messages with a later revision.
 */
export async function* watchRange(
  parts: WatchParts,
  range: KeyRange,
  after: Revision,
  { history, newest }: Listed,
  signal: AbortSignal,
): AsyncGenerator<RevisionBatch> {
  const { endpoints, keys, kv, clock, telemetry } = parts;
  let seen = newest;
  const backoff = new Backoff(parts.random, RETRY_BASE_MS, RETRY_MAX_MS);
  let cursor = after;
  let choice = 0;
  while (!signal.aborted) {
    if (history.aborted) throw new RolledBack('etcd has another history than before');
    endpoints.assertOpen();
    const stream = new Stream(parts, range, AbortSignal.any([signal, history]));
    try {
      // A watch of a revision that etcd does not have yet waits, or tells old events: the history is looked at first.
      await (seen ? kv.confirm(keys.key(seen.key), seen) : kv.probe());
      for await (const response of stream.responses(cursor, choice)) {
        for (const batch of batchesOf(response, keys)) {
          if (batch.revision <= cursor) {
            telemetry.counters.add('watch_repeats');
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
      if (history.aborted) continue;
      const { kind, message } = failureOf(error);
      if (kind === 'TOKEN') endpoints.forgetToken();
      telemetry.counters.add('watch_restarts');
      telemetry.log.warn(
        { revision: Number(cursor), reason: message },
        'the watch of etcd was cut; going on elsewhere',
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
    private readonly range: KeyRange,
    private readonly signal: AbortSignal,
  ) {}

  /** Whole responses: the fragments of a large revision are put together. */
  async *responses(after: Revision, choice: number): AsyncGenerator<readonly IEvent[]> {
    const { endpoints, keys, clock } = this.parts;
    const { etcd } = await endpoints.streams(choice);
    const stream = (await etcd.watchClient.watch()) as unknown as DuplexStream;
    let answered = true;
    let created = false;
    const giveUp = (what: string): void => {
      this.#failure ??= new EtcdFailure('UNREACHABLE', what);
      stream.cancel();
    };
    const creating = clock.after(CREATE_MAX_MS, () => created || giveUp('etcd did not confirm the watch'));
    const asking = clock.every(PROGRESS_MS, () => {
      if (!answered) return giveUp('the watch of etcd does not answer');
      answered = false;
      stream.write({ progress_request: {} });
    });
    const onAbort = (): void => stream.cancel();
    this.signal.addEventListener('abort', onAbort);
    this.#end = () => {
      creating.cancel();
      asking.cancel();
      this.signal.removeEventListener('abort', onAbort);
      stream.on('error', () => undefined);
      stream.cancel();
    };
    stream.write({
      create_request: { ...keys.range(this.range), start_revision: String(after + 1n), fragment: true },
    });
    try {
      let events: IEvent[] = [];
      for await (const response of stream) {
        answered = true;
        if (response.canceled) throw canceled(response);
        created ||= response.created;
        events.push(...response.events);
        if (response.fragment) continue;
        yield events; // without any event it still says that the watch lives
        events = [];
      }
    } catch (error) {
      throw this.#failure ?? error;
    }
    throw this.#failure ?? new EtcdFailure('UNREACHABLE', 'etcd ended the watch');
  }

  close(): void {
    this.#end?.();
    this.#end = undefined;
  }
}

/** What the client library's stream is. */
interface DuplexStream extends AsyncIterable<IWatchResponse> {
  write(request: IWatchRequest): void;
  cancel(): void;
  on(event: 'error', listener: (error: Error) => void): void;
}

function canceled({ compact_revision, cancel_reason }: IWatchResponse): Error {
  if (compact_revision !== '0') return new Compacted(`etcd has compacted its history up to ${compact_revision}`);
  return failureOf(new Error(cancel_reason || 'etcd canceled the watch'));
}

/** Events come in order; those of one revision are together. */
function* batchesOf(events: readonly IEvent[], keys: KeySpace): Generator<RevisionBatch> {
  let revision = 0n;
  let changes: Change[] = [];
  for (const { type, kv } of events) {
    const at = BigInt(kv.mod_revision);
    if (at !== revision && changes.length > 0) {
      yield { revision, changes };
      changes = [];
    }
    revision = at;
    changes.push(
      type === 'Delete' ? { kind: 'delete', key: keys.nameOf(kv.key) } : { kind: 'put', entry: keys.entry(kv) },
    );
  }
  if (changes.length > 0) yield { revision, changes };
}
