import type { Delta } from '../../catalog/selection.js';
import { WatchKind } from '../../gen/rollcall/v1/watch.js';
import { LIMITS } from '../../model/limits.js';
import type { Item } from '../../model/item.js';
import type { WatchCodec } from './codecs.js';

/** A delta cut into parts. Each part is encoded when it is first needed, and shared by every stream that sends it. */
export class SharedDelta<T extends Item> {
  readonly kind: WatchKind;
  readonly #parts: readonly Part<T>[];
  readonly #encoded: (Buffer | undefined)[] = [];
  /** Encoded at once, because the scopes may change again before the last part is sent. */
  readonly #notes: Uint8Array;

  constructor(
    readonly delta: Delta<T>,
    private readonly codec: WatchCodec<T>,
  ) {
    this.kind = delta.from === 0n ? WatchKind.WATCH_KIND_SNAPSHOT : WatchKind.WATCH_KIND_CHANGE;
    this.#parts = cut(delta, codec);
    this.#notes = codec.notes(delta.scopes);
  }

  /** True if the delta changes nothing in the view. */
  get isEmpty(): boolean {
    return this.delta.upserted.length === 0 && this.delta.removed.length === 0 && this.delta.scopes.length === 0;
  }

  get partCount(): number {
    return this.#parts.length;
  }

  /** The shared bytes of a part. The last part also carries the notes. */
  part(index: number): Buffer {
    return (this.#encoded[index] ??= this.#encode(index));
  }

  #encode(index: number): Buffer {
    const { upserted, removed } = this.#parts[index]!;
    const pieces = [
      ...upserted.map((item) => this.codec.upserted(item)),
      ...removed.map((item) => this.codec.removed(item)),
    ];
    if (index === this.#parts.length - 1) pieces.push(this.#notes);
    return Buffer.concat(pieces);
  }
}

interface Part<T> {
  readonly upserted: T[];
  readonly removed: T[];
}

/** Cuts a delta into parts that aim at WATCH_PART_BYTES. Removals come last. */
function cut<T extends Item>({ upserted, removed }: Delta<T>, codec: WatchCodec<T>): Part<T>[] {
  const parts: Part<T>[] = [];
  let bytes = 0;
  /** The part for an item. An item that must not be cut off goes into the part of the item before it. */
  const partFor = (itemBytes: number, mayCut: boolean): Part<T> => {
    if (parts.length === 0 || (mayCut && bytes > 0 && bytes + itemBytes > LIMITS.WATCH_PART_BYTES.value)) {
      parts.push({ upserted: [], removed: [] });
      bytes = 0;
    }
    bytes += itemBytes;
    return parts[parts.length - 1]!;
  };
  upserted.forEach((item, i) => {
    const mayCut = !codec.keepsRevisionsWhole || item.revision !== upserted[i - 1]?.revision;
    partFor(codec.upserted(item).length, mayCut).upserted.push(item);
  });
  for (const item of removed) partFor(codec.removed(item).length, true).removed.push(item);
  return parts.length > 0 ? parts : [{ upserted: [], removed: [] }];
}
