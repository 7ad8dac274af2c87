import type { Delta, Selection } from '../../catalog/selection.js';
import type { Scope } from '../../catalog/collection.js';
import { type ResetReason, WatchKind } from '../../gen/rollcall/v1/watch.js';
import { WatchConfigResponse } from '../../gen/rollcall/v1/config_service.js';
import { WatchServicesResponse } from '../../gen/rollcall/v1/registry_service.js';
import { type Instance, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import { LIMITS } from '../../model/limits.js';
import type { ConfigItem, InstanceItem, Item } from '../../model/records.js';
import { toDuration } from '../../model/time.js';
import type { Matcher } from '../../domain/registry/filter.js';
import { hiddenCount, protectionOf } from '../../domain/registry/discovery.js';

/** What one message says of the stream, beside the items. */
export interface Tail {
  readonly kind: WatchKind;
  /** 0n: more parts follow. */
  readonly revision: bigint;
  readonly resumeToken: string;
  readonly staleForMs: number | undefined;
  /** Empty unless this is the first message. */
  readonly watchId: string;
  readonly resetReason: ResetReason;
}

/**
 * Encodes the pieces of a watch message. A protobuf message is the concatenation of its fields, so pieces that
 * many streams share are encoded once and put beside the few bytes that are a stream's own.
 */
export interface WatchCodec<T extends Item> {
  /** True: what changed in one revision is never split, such as a publish. */
  readonly keepsRevisionsWhole: boolean;
  upserted(item: T): Uint8Array;
  removed(item: T): Uint8Array;
  /** Facts about the scopes of a delta. */
  notes(scopes: readonly Scope<T>[]): Uint8Array;
  tail(tail: Tail): Uint8Array;
}

const EMPTY = new Uint8Array(0);
/** Pieces are spread over these, not copied by `fromPartial`, which would lose what newer programs wrote. */
const noServices = WatchServicesResponse.create();
const noConfigs = WatchConfigResponse.create();
/** By the instance, which stays the same when its item is moved by the protection of its service. */
const instanceBytes = new WeakMap<Instance, Uint8Array>();
const configBytes = new WeakMap<ConfigItem, Uint8Array>();

function once<T extends object>(memo: WeakMap<T, Uint8Array>, item: T, encode: () => Uint8Array): Uint8Array {
  let bytes = memo.get(item);
  if (!bytes) memo.set(item, (bytes = encode()));
  return bytes;
}

function tailFields({ kind, revision, resumeToken, staleForMs, watchId, resetReason }: Tail) {
  const staleFor = staleForMs === undefined ? undefined : toDuration(staleForMs);
  return { kind, revision, resumeToken, staleFor, watchId, resetReason };
}

/** WatchServices; the filter decides what counts as hidden. */
export function servicesCodec(filter: Matcher): WatchCodec<InstanceItem> {
  return {
    // All ailing instances of a service change at the revision that protects it.
    keepsRevisionsWhole: false,
    upserted: ({ instance }) =>
      once(instanceBytes, instance, () =>
        WatchServicesResponse.encode({ ...noServices, upserted: [instance] }).finish(),
      ),
    removed: ({ scope, name, removalReason }) => {
      const reason = removalReason ?? RemovalReason.REMOVAL_REASON_NO_LONGER_MATCHES;
      return WatchServicesResponse.encode({ ...noServices, removed: [{ service: scope, id: name, reason }] }).finish();
    },
    notes: (scopes) => {
      const services = scopes.map((scope) => ({
        service: scope.name,
        hiddenCount: hiddenCount(scope, filter),
        protection: protectionOf(scope),
      }));
      return WatchServicesResponse.encode({ ...noServices, services }).finish();
    },
    tail: (tail) => WatchServicesResponse.encode({ ...noServices, ...tailFields(tail) }).finish(),
  };
}

/** WatchConfig. */
export const configsCodec: WatchCodec<ConfigItem> = {
  keepsRevisionsWhole: true,
  upserted: (item) =>
    once(configBytes, item, () => WatchConfigResponse.encode({ ...noConfigs, upserted: [item.config] }).finish()),
  removed: ({ scope, name, config }) =>
    WatchConfigResponse.encode({
      ...noConfigs,
      removed: [{ group: scope, key: name, version: config.version }],
    }).finish(),
  notes: () => EMPTY,
  tail: (tail) => WatchConfigResponse.encode({ ...noConfigs, ...tailFields(tail) }).finish(),
};

/** A delta cut into parts, each encoded when it is first needed and then shared by every stream that sends it. */
export class SharedDelta<T extends Item> {
  readonly kind: WatchKind;
  readonly #parts: readonly Part<T>[];
  readonly #encoded: (Buffer | undefined)[] = [];
  /** Made at once: the scopes may have changed again before the last part is sent. */
  readonly #notes: Uint8Array;

  constructor(
    readonly delta: Delta<T>,
    readonly selection: Selection<T>,
    private readonly codec: WatchCodec<T>,
  ) {
    this.kind = delta.from === 0n ? WatchKind.WATCH_KIND_SNAPSHOT : WatchKind.WATCH_KIND_CHANGE;
    this.#parts = cut(delta, codec);
    this.#notes = codec.notes(delta.scopes);
  }

  /** True: nothing in it concerns the view. */
  get isEmpty(): boolean {
    return this.delta.upserted.length === 0 && this.delta.removed.length === 0 && this.delta.scopes.length === 0;
  }

  get partCount(): number {
    return this.#parts.length;
  }

  /** The shared bytes of a part. The last one also carries the notes. */
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
  /** The part that an item goes into; one that may not be cut off goes where the one before it went. */
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
