import type { ServerWritableStream } from '@grpc/grpc-js';
import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { LinkedList, type Node } from '../../base/linked-list.js';
import type { Telemetry } from '../../base/observe.js';
import type { Random } from '../../base/random.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Collection } from '../../catalog/collection.js';
import type { Reads } from '../../catalog/reads.js';
import { delta, hasChanged, listen, type Selection } from '../../catalog/selection.js';
import { ResetReason, WatchKind } from '../../gen/rollcall/v1/watch.js';
import { RollcallError } from '../../model/errors.js';
import { LIMITS, READ_REVISION_WAIT_MS } from '../../model/limits.js';
import type { Item } from '../../model/records.js';
import { decodeResumeToken, encodeResumeToken } from '../../model/tokens.js';
import type { Ending } from '../../edges/grpc/calls.js';
import { SharedDelta, type WatchCodec } from './messages.js';

/** A quiet stream gets a bookmark after this; the promise is 15 s, and the look-out is once a second. */
const BOOKMARK_MS = 12_000;
/** How often quiet and stuck streams are looked for. */
const SWEEP_MS = 1_000;
/** A reader that takes nothing for this long is ended. */
const NO_PROGRESS_MAX_MS = 60_000;
/** A stream is written to until this much has not reached the network: enough to keep it busy, little to hold. */
const UNSENT_BYTES_MAX = 256 * 1_024;
/** All streams together hold no more than this and one part each of those being served: then the others wait. */
const UNSENT_TOTAL_BYTES_MAX = 128 * 1_024 * 1_024;
/** While others wait for that, a reader that takes nothing for this long is ended. */
const NO_PROGRESS_WHEN_FULL_MS = 10_000;
/** Streams are served for this long before other work gets a turn, so that a fan-out delays no heartbeat. */
const TURN_MS = 5;

/** A request to watch, checked. */
export interface WatchRequest<T extends Item> {
  readonly collection: Collection<T>;
  readonly selection: Selection<T>;
  readonly codec: WatchCodec<T>;
  /** Empty: begin with a snapshot. */
  readonly resumeToken: string;
}

/**
 * Every open watch of this server. A watch is a cursor into the order of changes: whoever has room gets what
 * lies behind its cursor, so that a slow reader costs a cursor and what it has not yet taken, and no queue.
 *
 * Streams that look at the same selection share the difference, and its bytes.
 */
export class WatchHub implements Closeable {
  readonly #groups = new Map<string, Group<Item>>();
  /** Streams by when they last heard from us, longest ago first. */
  readonly #byLastSent = new LinkedList<WatchStream>();
  /** Streams that wait for their reader, longest first. */
  readonly #waiting = new LinkedList<WatchStream>();
  readonly #woken = new Set<WatchStream>();
  /** Streams that have something to send and wait until less of all streams is unsent. */
  readonly #held = new Set<WatchStream>();
  #unsentBytes = 0;
  #turnIsDue = false;
  #sweeping: Timer | undefined;
  #nextNumber = 1;

  constructor(
    private readonly catalog: Catalog,
    private readonly reads: Reads,
    private readonly clock: Clock,
    private readonly random: Random,
    private readonly telemetry: Telemetry,
  ) {
    catalog.onReset(() => this.#endAll());
  }

  /** Every watch begins anew: its cursor means nothing in another history. */
  #endAll(): void {
    const streams = [...this.#groups.values()].flatMap((group) => [...group.streams]);
    for (const { ending } of streams) {
      ending.fail(new RollcallError('STORE_REPLACED', 'the store has another history than before: watch again'));
    }
  }

  /** How many watches are open. */
  get size(): number {
    return this.#byLastSent.size;
  }

  start(): void {
    this.#sweeping ??= this.clock.every(SWEEP_MS, () => this.#sweep());
  }

  close(): void {
    this.#sweeping?.cancel();
  }

  /** Serves a watch until it ends. Throws what ends it before it begins. */
  open<T extends Item>(request: WatchRequest<T>, call: ServerWritableStream<unknown, unknown>, ending: Ending): void {
    this.catalog.assertReady();
    if (this.size >= LIMITS.WATCHES.value) {
      throw new RollcallError('TOO_MANY_WATCHES', `the server has ${this.size} open watches already`);
    }
    const begin = (): void => {
      if (!ending.ended) this.#begin(request, call, ending);
    };
    const ahead = this.#aheadBy(request.resumeToken);
    if (ahead === undefined) return begin();
    void this.catalog.reached(ahead, READ_REVISION_WAIT_MS).then((reached) => {
      if (reached) return begin();
      const metadata = { revision: String(ahead), seen: String(this.catalog.revision) };
      ending.fail(
        new RollcallError('REVISION_NOT_REACHED', `the revision of the token has not been seen here yet`, { metadata }),
      );
    });
  }

  /** The revision to wait for, if the token is ahead of the catalog. */
  #aheadBy(resumeToken: string): bigint | undefined {
    if (resumeToken === '') return undefined;
    const token = decodeResumeToken(resumeToken);
    if (!token) {
      const violations = [{ field: 'resume_token', description: 'is not a token of a watch' }];
      throw new RollcallError('INVALID_REQUEST', 'resume_token: is not a token of a watch', { violations });
    }
    return token.epoch === this.catalog.epoch && !this.catalog.has(token.revision) ? token.revision : undefined;
  }

  #begin<T extends Item>(request: WatchRequest<T>, call: ServerWritableStream<unknown, unknown>, ending: Ending): void {
    const { cursor, resetReason } = this.#continueFrom(request);
    const group = this.#group(request);
    const stream: WatchStream = new WatchStream(
      group,
      call,
      ending,
      cursor,
      resetReason,
      `${this.random.id().slice(0, 8)}-${this.#nextNumber++}`,
    );
    stream.lastSent = this.#byLastSent.push(stream);
    stream.lastSentMs = this.clock.now();
    group.streams.add(stream);
    this.telemetry.counters.add('watches_opened');
    if (resetReason !== ResetReason.RESET_REASON_UNSPECIFIED) this.telemetry.counters.add('watches_reset');
    ending.onEnd(() => this.#forget(stream));
    this.#serve(stream);
  }

  /** Where the cursor begins. What cannot be continued begins with a snapshot, and says why. */
  #continueFrom<T extends Item>({
    resumeToken,
    selection,
  }: WatchRequest<T>): { cursor: bigint; resetReason: ResetReason } {
    const token = resumeToken === '' ? undefined : decodeResumeToken(resumeToken);
    if (!token) return { cursor: 0n, resetReason: ResetReason.RESET_REASON_UNSPECIFIED };
    if (token.epoch !== this.catalog.epoch) return { cursor: 0n, resetReason: ResetReason.RESET_REASON_OTHER_STORE };
    if (token.selection !== selection.key) return { cursor: 0n, resetReason: ResetReason.RESET_REASON_OTHER_SELECTION };
    if (token.revision < this.catalog.oldestCursor)
      return { cursor: 0n, resetReason: ResetReason.RESET_REASON_TOKEN_TOO_OLD };
    return { cursor: token.revision, resetReason: ResetReason.RESET_REASON_UNSPECIFIED };
  }

  #group<T extends Item>({ collection, selection, codec }: WatchRequest<T>): Group<T> {
    const known = this.#groups.get(selection.key) as unknown as Group<T> | undefined;
    if (known) return known;
    const group: Group<T> = new Group(collection, selection, codec, () => {
      for (const stream of group.streams) this.#wake(stream);
    });
    this.#groups.set(selection.key, group);
    return group;
  }

  #forget(stream: WatchStream): void {
    const { group } = stream;
    group.streams.delete(stream);
    this.#woken.delete(stream);
    this.#held.delete(stream);
    this.#unsentBytes -= stream.unsentBytes;
    stream.unsentBytes = 0;
    this.#letOn();
    if (stream.lastSent) this.#byLastSent.remove(stream.lastSent);
    this.#stopWaiting(stream);
    if (group.streams.size > 0) return;
    group.close();
    this.#groups.delete(group.selection.key);
  }

  #wake(stream: WatchStream): void {
    this.#woken.add(stream);
    if (this.#turnIsDue) return;
    this.#turnIsDue = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    this.#turnIsDue = false;
    const until = this.clock.now() + TURN_MS;
    for (const stream of this.#woken) {
      this.#woken.delete(stream);
      this.#serve(stream);
      if (this.clock.now() >= until) break;
    }
    if (this.#woken.size === 0) return;
    this.#turnIsDue = true;
    setImmediate(() => this.#turn());
  }

  /** Sends what lies behind the cursor, as long as the reader takes it. */
  #serve(stream: WatchStream): void {
    while (!stream.ending.ended && stream.unsentBytes < UNSENT_BYTES_MAX) {
      stream.sending ??= this.#next(stream);
      if (!stream.sending) {
        if (stream.isNew) this.#bookmark(stream);
        return;
      }
      if (this.#unsentBytes >= UNSENT_TOTAL_BYTES_MAX) return void this.#held.add(stream);
      this.#sendPart(stream, stream.sending);
    }
  }

  /** The difference to send next; undefined: the view is up to date. */
  #next(stream: WatchStream): Sending | undefined {
    const { group, cursor } = stream;
    const isFirstSnapshot = cursor === 0n;
    if (!isFirstSnapshot && !hasChanged(group.collection, group.selection, cursor)) return undefined;
    const difference = group.difference(cursor, this.catalog.revision);
    if (!isFirstSnapshot && difference.isEmpty) {
      stream.cursor = difference.delta.to;
      return undefined;
    }
    return { difference, part: 0 };
  }

  #sendPart(stream: WatchStream, sending: Sending): void {
    const { difference, part } = sending;
    const isLast = part === difference.partCount - 1;
    const to = difference.delta.to;
    this.#write(stream, difference.part(part), difference.kind, isLast ? to : 0n);
    sending.part++;
    if (!isLast) return;
    stream.cursor = to;
    stream.sending = undefined;
  }

  #bookmark(stream: WatchStream): void {
    stream.cursor = this.catalog.revision;
    this.#write(stream, NOTHING, WatchKind.WATCH_KIND_BOOKMARK, stream.cursor);
  }

  #write(stream: WatchStream, shared: Buffer, kind: WatchKind, revision: bigint): void {
    const { group } = stream;
    const resumeToken =
      revision === 0n ? '' : encodeResumeToken({ epoch: this.catalog.epoch, revision, selection: group.selection.key });
    const tail = group.codec.tail({
      kind,
      revision,
      resumeToken,
      staleForMs: this.reads.stamp().staleForMs,
      watchId: stream.isNew ? stream.id : '',
      resetReason: stream.isNew ? stream.resetReason : ResetReason.RESET_REASON_UNSPECIFIED,
    });
    stream.isNew = false;
    const bytes = Buffer.concat([shared, tail]);
    stream.unsentBytes += bytes.length;
    this.#unsentBytes += bytes.length;
    stream.lastSentMs = this.clock.now();
    this.#byLastSent.moveToEnd(stream.lastSent!);
    if (!stream.waiting) {
      stream.waiting = this.#waiting.push(stream);
      stream.waitingSinceMs = stream.lastSentMs;
    }
    this.telemetry.counters.add('watch_messages');
    stream.call.write(bytes, () => this.#sent(stream, bytes.length));
  }

  /** The network has taken a message: the reader makes progress. */
  #sent(stream: WatchStream, bytes: number): void {
    if (stream.ending.ended) return;
    stream.unsentBytes -= bytes;
    this.#unsentBytes -= bytes;
    this.#letOn();
    this.#stopWaiting(stream);
    if (stream.unsentBytes > 0) {
      stream.waiting = this.#waiting.push(stream);
      stream.waitingSinceMs = this.clock.now();
    }
    this.#wake(stream);
  }

  /** There is room again: those that were held go on, longest first. */
  #letOn(): void {
    if (this.#held.size === 0 || this.#unsentBytes >= UNSENT_TOTAL_BYTES_MAX) return;
    const [first] = this.#held;
    this.#held.delete(first!);
    this.#wake(first!);
  }

  #stopWaiting(stream: WatchStream): void {
    if (stream.waiting) this.#waiting.remove(stream.waiting);
    stream.waiting = undefined;
  }

  /** Sends bookmarks to quiet streams, and ends those whose reader is stuck. */
  #sweep(): void {
    const now = this.clock.now();
    this.#letOn();
    const maxMs = this.#held.size > 0 ? NO_PROGRESS_WHEN_FULL_MS : NO_PROGRESS_MAX_MS;
    while (this.#waiting.first && now - this.#waiting.first.value.waitingSinceMs > maxMs) {
      const stream = this.#waiting.first.value;
      this.#stopWaiting(stream);
      this.telemetry.counters.add('watches_slow');
      stream.ending.fail(
        new RollcallError('SLOW_READER', `nothing was read for ${maxMs / 1000} s; resume from the last token`),
      );
    }
    while (this.#byLastSent.first && now - this.#byLastSent.first.value.lastSentMs > BOOKMARK_MS) {
      const node = this.#byLastSent.first;
      const stream = node.value;
      stream.lastSentMs = now;
      this.#byLastSent.moveToEnd(node);
      // A change may be waiting for its turn, and a bookmark must not overtake it.
      this.#serve(stream);
      if (!stream.sending && stream.unsentBytes === 0) this.#bookmark(stream);
    }
  }
}

const NOTHING = Buffer.alloc(0);

/** A difference on its way. */
interface Sending {
  readonly difference: SharedDelta<Item>;
  part: number;
}

/** The streams that look at one selection, and the last difference that one of them needed. */
class Group<T extends Item> {
  readonly streams = new Set<WatchStream>();
  readonly #stopListening: () => void;
  /** Weak, so that a difference lives as long as a stream sends it and not much longer. */
  #last: WeakRef<SharedDelta<T>> | undefined;

  constructor(
    readonly collection: Collection<T>,
    readonly selection: Selection<T>,
    readonly codec: WatchCodec<T>,
    onChange: () => void,
  ) {
    this.#stopListening = listen(collection, selection, onChange);
  }

  close(): void {
    this.#stopListening();
  }

  difference(from: bigint, to: bigint): SharedDelta<T> {
    const last = this.#last?.deref();
    if (last && last.delta.from === from && last.delta.to === to) return last;
    const made = new SharedDelta(delta(this.collection, this.selection, from, to), this.selection, this.codec);
    this.#last = new WeakRef(made);
    return made;
  }
}

/** One open watch. */
class WatchStream {
  /** The view of the client equals the store here once everything written has arrived. */
  cursor: bigint;
  sending: Sending | undefined;
  /** Bytes written that the network has not taken. */
  unsentBytes = 0;
  /** True until the first message. */
  isNew = true;
  lastSent: Node<WatchStream> | undefined;
  lastSentMs = 0;
  waiting: Node<WatchStream> | undefined;
  waitingSinceMs = 0;

  constructor(
    readonly group: Group<Item>,
    readonly call: ServerWritableStream<unknown, unknown>,
    readonly ending: Ending,
    cursor: bigint,
    readonly resetReason: ResetReason,
    readonly id: string,
  ) {
    this.cursor = cursor;
  }
}
