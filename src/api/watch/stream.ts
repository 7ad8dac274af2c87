import type { Node } from '../../base/linked-list.js';
import type { Collection } from '../../catalog/collection.js';
import { delta, listen, type Selection, type Span } from '../../catalog/selection.js';
import type { ResetReason, WatcherIdentity } from '../../gen/rollcall/v1/watch.js';
import type { Item } from '../../model/item.js';
import type { Sink, SinkListener } from '../call/sink.js';
import type { WatchCodec } from './codecs.js';
import { SharedDelta } from './parts.js';
import type { Beginning, Staged } from './resume.js';

/** The streams with one selection, and the last delta that one of them needed. */
export class Group<T extends Item> {
  readonly streams = new Set<WatchStream>();
  readonly #stopListening: () => void;
  /** Weak, so that a delta lives as long as a stream sends it and not much longer. */
  #last: WeakRef<SharedDelta<T>> | undefined;

  constructor(
    readonly collection: Collection<T>,
    readonly selection: Selection<T>,
    readonly codec: WatchCodec<T>,
    onChange: (streams: Iterable<WatchStream>) => void,
  ) {
    this.#stopListening = listen(collection, selection, () => onChange(this.streams));
  }

  close(): void {
    this.#stopListening();
  }

  /** The delta of a span. Streams that need the same one share the delta and its bytes. */
  difference(span: Span, partBytes: number): SharedDelta<T> {
    const last = this.#last?.deref();
    const { from, after, to } = span;
    if (last && last.delta.from === from && last.delta.after === after && last.delta.to === to) return last;
    const made = new SharedDelta(delta(this.collection, this.selection, span), this.codec, partBytes);
    this.#last = new WeakRef(made);
    return made;
  }
}

/** A delta that a stream is sending, part by part. */
export interface Sending {
  readonly difference: SharedDelta<Item>;
  /** The revision at which the view was begun; see Unfinished. */
  readonly began: bigint;
  /** The part to send next. */
  part: number;
}

/** Notified of the ends of open watches. */
export interface WatchStreamEvents {
  ended(stream: WatchStream): void;
  released(stream: WatchStream): void;
}

/** Who reads a watch, for operators. */
export interface WatchReader {
  /** The identity that the caller gave. */
  readonly identity: WatcherIdentity | undefined;
  /** The name of its credential. */
  readonly principal: string;
  /** The IP address that the call came from. */
  readonly address: string;
}

/** The parts of an open watch. */
export interface WatchStreamParts {
  readonly events: WatchStreamEvents;
  readonly group: Group<Item>;
  readonly sink: Sink;
  readonly beginning: Beginning;
  /** Names the stream to operators. */
  readonly id: string;
  readonly reader: WatchReader;
}

/** One open watch: a cursor, and the bytes that its reader has not taken yet. */
export class WatchStream implements SinkListener {
  readonly #events: WatchStreamEvents;
  readonly group: Group<Item>;
  readonly sink: Sink;
  readonly resetReason: ResetReason;
  readonly id: string;
  /** The revision that the client's view has reached once all bytes written before have arrived. */
  cursor: bigint;
  /** The view that an earlier stream began to send, if this one continues it. `undefined` once it is complete. */
  unfinished: Staged | undefined;
  sending: Sending | undefined;
  /** Bytes written that the network has not taken. */
  unsentBytes = 0;
  /** True once a message with a token was written. */
  hasToken = false;
  /** Remains true until the first message is written. */
  isNew = true;
  /** The place in the hub's order by last message. */
  lastSent: Node<WatchStream> | undefined;
  lastSentMs = 0;
  /** The place among the streams that wait for their reader. */
  waiting: Node<WatchStream> | undefined;
  waitingSinceMs = 0;
  readonly reader: WatchReader;
  /** Wall-clock milliseconds at which it was opened. */
  sinceWallMs = 0;

  constructor({ events, group, sink, beginning, id, reader }: WatchStreamParts) {
    this.reader = reader;
    this.#events = events;
    this.group = group;
    this.sink = sink;
    this.cursor = beginning.cursor;
    this.unfinished = beginning.unfinished;
    this.resetReason = beginning.resetReason;
    this.id = id;
  }

  ended(): void {
    this.#events.ended(this);
  }

  released(): void {
    this.#events.released(this);
  }
}
