import type { Clock, Timer } from '../../base/clock.js';
import type { Closeable } from '../../base/lifecycle.js';
import { LinkedList } from '../../base/linked-list.js';
import type { Random } from '../../base/random.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import type { Collection } from '../../catalog/collection.js';
import type { Freshness } from '../../catalog/freshness.js';
import { hasChanged, type Selection } from '../../catalog/selection.js';
import { ResetReason, WatchKind } from '../../gen/rollcall/v1/watch.js';
import { RollcallError } from '../../model/errors.js';
import type { Item } from '../../model/item.js';
import { LIMITS, READ_REVISION_WAIT_MS } from '../../model/limits.js';
import { encodeResumeToken, type ResumeToken, type Unfinished } from '../../model/tokens.js';
import { Pieces } from '../call/message.js';
import type { Sink } from '../call/sink.js';
import type { UnsentBytes } from '../call/unsent-bytes.js';
import type { Tail, WatchCodec } from './codecs.js';
import { Flow } from './flow.js';
import { beginningOf, readToken, revisionAhead } from './resume.js';
import { Group, type Sending, type WatchReader, WatchStream, type WatchStreamEvents } from './stream.js';
import { COUNTERS } from '../instruments.js';

/** A quiet stream gets a bookmark after this. The guarantee is 15 s; quiet streams are looked for once a second. */
const BOOKMARK_MS = 12_000;
/** How often quiet and stuck streams are looked for. */
const SWEEP_MS = 1_000;

/** A validated request to watch. */
export interface WatchRequest<T extends Item> {
  readonly collection: Collection<T>;
  readonly selection: Selection<T>;
  readonly codec: WatchCodec<T>;
  /** Empty: the stream begins with a snapshot. */
  readonly resumeToken: string;
  readonly reader: WatchReader;
}

/** The part of a message that says how far it brings the view. */
type Position = Pick<Tail, 'kind' | 'revision' | 'resumeToken' | 'continueToken'>;

/** The dependencies of a WatchHub. */
export interface WatchHubParts {
  readonly catalog: Catalog;
  readonly freshness: Freshness;
  readonly clock: Clock;
  readonly random: Random;
  readonly telemetry: Telemetry;
  readonly unsent: UnsentBytes;
  /** The size that a part of a snapshot or of a change aims at. */
  readonly partBytes: number;
}

/**
 * Every open watch of this server. Each watch is a cursor into the order of changes. Whenever a stream can accept data,
 * it receives the changes after its cursor. So a slow reader costs one cursor and its unsent bytes, and never a queue.
 *
 * Streams with the same selection share the delta and its bytes.
 */
export class WatchHub implements Closeable {
  readonly #groups = new Map<string, Group<Item>>();
  /** Streams by the time of their last message, longest ago first. */
  readonly #byLastSent = new LinkedList<WatchStream>();
  readonly #flow: Flow;
  /** Watches that wait until this server has seen the revision of their token. */
  readonly #awaited = new Set<Sink>();
  readonly #streamEvents: WatchStreamEvents = {
    ended: (stream) => this.#drop(stream),
    released: (stream) => this.#flow.release(stream),
  };
  readonly #stop = new AbortController();
  #sweeping: Timer | undefined;
  #nextNumber = 1;

  constructor(private readonly parts: WatchHubParts) {
    this.#flow = new Flow(parts.clock, parts.unsent, (stream) => this.#serve(stream));
  }

  /** The number of open watches, those included that wait for their beginning. */
  get size(): number {
    return this.#byLastSent.size + this.#awaited.size;
  }

  /** The open watches that were begun, in no particular order. */
  *streams(): Generator<WatchStream> {
    for (const group of this.#groups.values()) yield* group.streams;
  }

  /** For how long the network has taken nothing of a stream, in milliseconds; 0 if nothing waits to be taken. */
  lagMs({ unsentBytes, waiting, waitingSinceMs }: WatchStream): number {
    return unsentBytes > 0 && waiting ? this.parts.clock.now() - waitingSinceMs : 0;
  }

  /** The revision that the view of a stream has reached with what was sent to it. A view that nothing has changed is current. */
  reached({ cursor, sending, unfinished, group }: WatchStream): bigint {
    const isBehind = sending !== undefined || unfinished !== undefined || cursor === 0n;
    if (isBehind || hasChanged(group.collection, group.selection, cursor)) return cursor;
    return this.parts.catalog.revision;
  }

  /** Calls `listener` once the streams have been served that have something to send now. */
  whenServed(listener: () => void): void {
    this.#flow.wake(listener);
  }

  /**
   * Begins to serve. The catalog notifies the hub last, so the other parts have taken in a change before it is sent.
   */
  start(): void {
    const { catalog, clock } = this.parts;
    const ended = ({ cause }: CatalogChange): void => {
      if (cause === 'RESET') this.#endAll();
    };
    catalog.subscribe('hub', ended, this.#stop.signal);
    this.#sweeping ??= clock.every(SWEEP_MS, () => this.#sweep());
  }

  close(): void {
    this.#stop.abort();
    this.#sweeping?.cancel();
  }

  /** Serves a watch until its sink ends. Throws if the watch cannot begin. */
  open<T extends Item>(request: WatchRequest<T>, sink: Sink): void {
    const { catalog } = this.parts;
    catalog.assertReady();
    if (this.size >= LIMITS.WATCHES.value) {
      throw new RollcallError('TOO_MANY_WATCHES', `the server has ${this.size} open watches already`);
    }
    const token = readToken(request.resumeToken);
    const begin = (): void => {
      if (!sink.ended) this.#begin(request, token, sink);
    };
    const ahead = revisionAhead(token, catalog);
    if (ahead === undefined) return begin();
    this.#awaited.add(sink);
    sink.onEnd(() => this.#awaited.delete(sink));
    void catalog.reached(ahead, READ_REVISION_WAIT_MS).then((reached) => {
      this.#awaited.delete(sink);
      if (reached) return begin();
      const metadata = { revision: String(ahead), seen: String(catalog.revision) };
      sink.fail(
        new RollcallError('REVISION_NOT_REACHED', 'this server has not seen the revision of the token yet', {
          metadata,
        }),
      );
    });
  }

  /** Ends every watch: cursors mean nothing after a reset. */
  #endAll(): void {
    const streams = [...this.#groups.values()].flatMap((group) => [...group.streams]);
    for (const { sink } of streams) {
      sink.fail(new RollcallError('STORE_REPLACED', 'this server reads the store again from the start: watch again'));
    }
  }

  #begin<T extends Item>(request: WatchRequest<T>, token: ResumeToken | undefined, sink: Sink): void {
    const { catalog, clock, random, telemetry } = this.parts;
    const beginning = beginningOf(token, request.selection.key, catalog);
    const group = this.#groupOf(request);
    const id = `${random.id().slice(0, 8)}-${this.#nextNumber++}`;
    const { reader } = request;
    const stream = new WatchStream({ events: this.#streamEvents, group, sink, beginning, id, reader });
    stream.sinceWallMs = clock.wall();
    stream.lastSent = this.#byLastSent.push(stream);
    stream.lastSentMs = clock.now();
    group.streams.add(stream);
    telemetry.counters.add(COUNTERS.watches_opened);
    if (beginning.resetReason !== ResetReason.RESET_REASON_UNSPECIFIED) telemetry.counters.add(COUNTERS.watches_reset);
    sink.attach(stream);
    this.#serve(stream);
  }

  /** The group of a selection. All requests of one group have the same type of item. */
  #groupOf<T extends Item>({ collection, selection, codec }: WatchRequest<T>): Group<Item> {
    let group = this.#groups.get(selection.key);
    if (!group) {
      const made = new Group(collection, selection, codec, (streams) => {
        for (const stream of streams) this.#flow.wake(stream);
      });
      this.#groups.set(selection.key, (group = made as unknown as Group<Item>));
    }
    return group;
  }

  #drop(stream: WatchStream): void {
    const { group } = stream;
    group.streams.delete(stream);
    this.#flow.drop(stream);
    if (stream.lastSent) this.#byLastSent.remove(stream.lastSent);
    if (group.streams.size > 0) return;
    group.close();
    this.#groups.delete(group.selection.key);
  }

  /** Sends the changes after the cursor, as long as the reader takes them. */
  #serve(stream: WatchStream): void {
    while (!stream.sink.ended && this.#flow.hasRoom(stream)) {
      stream.sending ??= this.#next(stream);
      if (!stream.sending) {
        if (stream.isNew) this.#bookmark(stream);
        return;
      }
      if (this.#flow.holds(stream)) return;
      this.#sendPart(stream, stream.sending);
    }
  }

  /** The delta to send next. `undefined` if the view is up to date. */
  #next(stream: WatchStream): Sending | undefined {
    const { group, cursor, unfinished } = stream;
    const isDue = cursor === 0n || unfinished !== undefined;
    if (!isDue && !hasChanged(group.collection, group.selection, cursor)) return undefined;
    const to = this.parts.catalog.revision;
    const span = { from: cursor, after: unfinished?.through ?? cursor, to };
    const difference = group.difference(span, this.parts.partBytes);
    if (!isDue && difference.isEmpty) {
      stream.cursor = to;
      return undefined;
    }
    return { difference, part: 0, began: unfinished?.began ?? (cursor === 0n ? to : cursor) };
  }

  #sendPart(stream: WatchStream, sending: Sending): void {
    const { difference, began, part } = sending;
    const { from, to } = difference.delta;
    const { kind } = difference;
    sending.part++;
    if (part < difference.partCount - 1) {
      const continueToken = this.#token(stream, difference.wholeWith(part), { from, began, to });
      this.#write(stream, difference.part(part), { kind, revision: 0n, resumeToken: '', continueToken });
      return;
    }
    const isPlain = this.#isPlain(stream);
    const known = isPlain ? difference.lastMessage : undefined;
    if (known) {
      this.#send(stream, known);
    } else {
      const position = { kind, revision: to, resumeToken: this.#token(stream, to), continueToken: '' };
      const message = this.#write(stream, difference.part(part), position);
      if (isPlain) difference.lastMessage = message;
    }
    stream.hasToken = true;
    stream.cursor = to;
    stream.unfinished = undefined;
    stream.sending = undefined;
  }

  #bookmark(stream: WatchStream): void {
    const { revision } = this.parts.catalog;
    stream.cursor = revision;
    const resumeToken = this.#token(stream, revision);
    this.#write(stream, NOTHING, { kind: WatchKind.WATCH_KIND_BOOKMARK, revision, resumeToken, continueToken: '' });
  }

  #token({ group }: WatchStream, revision: bigint, unfinished?: Unfinished): string {
    const epoch = this.parts.catalog.storeEpoch;
    return revision === 0n ? '' : encodeResumeToken({ epoch, revision, selection: group.selection.key, unfinished });
  }

  /** Returns true if the last message of a delta is the same for this stream as for others: nothing in it is its own. */
  #isPlain({ isNew }: WatchStream): boolean {
    return !isNew && this.parts.freshness.stamp().staleForMs === undefined;
  }

  #write(stream: WatchStream, shared: Uint8Array, position: Position): Pieces {
    const { freshness, clock } = this.parts;
    const { kind } = position;
    const tail = stream.group.codec.tail({
      ...position,
      staleForMs: freshness.stamp().staleForMs,
      watchId: stream.isNew ? stream.id : '',
      continues: stream.isNew && stream.unfinished !== undefined,
      resetReason: stream.isNew ? stream.resetReason : ResetReason.RESET_REASON_UNSPECIFIED,
      serverMs: stream.isNew || kind === WatchKind.WATCH_KIND_BOOKMARK ? clock.wall() : undefined,
    });
    stream.isNew = false;
    stream.hasToken ||= position.resumeToken !== '' || position.continueToken !== '';
    const message = new Pieces(shared, tail);
    this.#send(stream, message);
    return message;
  }

  #send(stream: WatchStream, message: Pieces): void {
    const { clock, telemetry } = this.parts;
    stream.lastSentMs = clock.now();
    this.#byLastSent.moveToEnd(stream.lastSent!);
    telemetry.counters.add(COUNTERS.watch_messages);
    const bytes = stream.sink.write(message, () => this.#flow.taken(stream, bytes));
    this.#flow.written(stream, bytes);
  }

  /** Sends bookmarks to quiet streams, and ends the streams whose reader is stuck. */
  #sweep(): void {
    this.#flow.resumeHeld();
    const { streams, maxMs } = this.#flow.takeStuck();
    for (const stream of streams) {
      this.parts.telemetry.counters.add(COUNTERS.watches_slow);
      const advice = stream.hasToken ? 'call again with the last token' : 'call again';
      const message = `the reader took nothing for ${maxMs / 1_000} s; ${advice}`;
      stream.sink.fail(new RollcallError('SLOW_READER', message));
    }
    const now = this.parts.clock.now();
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

const NOTHING = new Uint8Array(0);
