import type { IEvent, IWatchRequest, IWatchResponse } from 'etcd3';
import type { Clock } from '../../base/clock.js';
import { type Change, Compacted, type KeyRange, type Revision, type RevisionBatch } from '../store.js';
import type { Endpoints } from './endpoints.js';
import { EtcdFailure, failureOf } from './failures.js';
import type { KeySpace } from './keys.js';

/** How long etcd may take to confirm a watch. It usually confirms at once, so a silent endpoint is given up. */
const CREATE_MAX_MS = 2_000;
/** How often a watch is probed, and how long the answer may take: a dead stream is replaced within 10 s. */
const PROGRESS_MS = 5_000;
/** The dependencies of a stream, and the range that it watches. */
export interface StreamParts {
  readonly endpoints: Endpoints;
  readonly keys: KeySpace;
  readonly clock: Clock;
  readonly range: KeyRange;
}

/** A whole response of a watch. */
export interface WatchAnswer {
  readonly batches: Iterable<RevisionBatch>;
  /** The revision that etcd was at. While a watch catches up, it has not delivered everything up to there. */
  readonly newest: Revision;
  /** True if this answers a question about progress. */
  readonly isProgress: boolean;
}

/** One stream of etcd with one watch on it. */
export class WatchStream {
  #end: (() => void) | undefined;
  #failure: Error | undefined;

  constructor(
    private readonly parts: StreamParts,
    private readonly signal: AbortSignal,
    private readonly probeMs = PROGRESS_MS,
  ) {}

  /** Delivers whole responses: it joins the fragments of a large revision. Always ends with an error. */
  async *responses(after: Revision, choice: number): AsyncGenerator<WatchAnswer> {
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
        yield {
          batches: batchesOf(events, keys),
          newest: BigInt(response.header.revision),
          // A response without events shows that the watch is alive.
          isProgress: events.length === 0 && !response.created,
        };
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
    const probes = clock.every(this.probeMs, () => {
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
  if (compact_revision !== '0')
    return new Compacted(`etcd has compacted its history up to ${compact_revision}`, BigInt(compact_revision));
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
