import type { Delta } from '../../catalog/selection.js';
import { WatchKind } from '../../gen/rollcall/v1/watch.js';
import type { Item } from '../../model/item.js';
import type { Pieces } from '../call/message.js';
import type { WatchCodec } from './codecs.js';

/** A delta cut into parts. Each part is put together when it is first needed, and shared by every stream that sends it. */
export class SharedDelta<T extends Item> {
  readonly kind: WatchKind;
  readonly #parts: readonly Part[];
  /** Weak: streams that send a part at the same time share it, and a slow one keeps none. */
  readonly #encoded: (WeakRef<Buffer> | undefined)[] = [];
  #lastMessage: WeakRef<Pieces> | undefined;
  /** Encoded at once, because the scopes may change again before the last part is sent. */
  readonly #notes: Uint8Array;

  constructor(
    readonly delta: Delta<T>,
    codec: WatchCodec<T>,
    /** The size that a part aims at. */
    partBytes: number,
  ) {
    this.kind = delta.from === 0n ? WatchKind.WATCH_KIND_SNAPSHOT : WatchKind.WATCH_KIND_CHANGE;
    this.#parts = cut(delta, codec, partBytes);
    this.#notes = codec.notes(delta.scopes);
  }

  /** The last message of the delta as most streams send it. Weak, as the parts. */
  get lastMessage(): Pieces | undefined {
    return this.#lastMessage?.deref();
  }
  set lastMessage(message: Pieces) {
    this.#lastMessage = new WeakRef(message);
  }

  /** True if the delta changes nothing in the view. */
  get isEmpty(): boolean {
    return this.delta.items.length === 0 && this.delta.scopes.length === 0;
  }

  get partCount(): number {
    return this.#parts.length;
  }

  /** The shared bytes of a part. The last part also carries the notes. */
  part(index: number): Buffer {
    const known = this.#encoded[index]?.deref();
    if (known) return known;
    const bytes = this.#encode(index);
    this.#encoded[index] = new WeakRef(bytes);
    return bytes;
  }

  /** The newest revision whose changes have all been sent with this part and those before it. */
  wholeWith(index: number): bigint {
    return this.#parts[index]!.whole;
  }

  #encode(index: number): Buffer {
    const { pieces } = this.#parts[index]!;
    return Buffer.concat(index === this.#parts.length - 1 ? [...pieces, this.#notes] : pieces);
  }
}

interface Part {
  readonly pieces: Uint8Array[];
  /** The newest revision whose changes are all in this part or before it. */
  whole: bigint;
}

/** Cuts a delta into parts that aim at `partBytes`. */
function cut<T extends Item>({ items, removed, after }: Delta<T>, codec: WatchCodec<T>, partBytes: number): Part[] {
  let part: Part = { pieces: [], whole: after };
  const parts = [part];
  let bytes = 0;
  /** The revision of the item before. */
  let revision = after;
  for (const item of items) {
    const piece = removed.has(item) ? codec.removed(item) : codec.upserted(item);
    const isNewRevision = item.revision !== revision;
    if (isNewRevision) part.whole = revision;
    if (bytes > 0 && bytes + piece.length > partBytes && (isNewRevision || !codec.keepsRevisionsWhole)) {
      part = { pieces: [], whole: part.whole };
      parts.push(part);
      bytes = 0;
    }
    part.pieces.push(piece);
    bytes += piece.length;
    ({ revision } = item);
  }
  part.whole = revision;
  return parts;
}
