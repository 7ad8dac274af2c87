import type { Scope } from '../../catalog/collection.js';
import type { ResetReason, WatchKind, WatchProgress } from '../../gen/rollcall/v1/watch.js';
import { WatchConfigResponse } from '../../gen/rollcall/v1/config_service.js';
import { WatchServicesResponse } from '../../gen/rollcall/v1/registry_service.js';
import { type Instance, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import type { ConfigItem } from '../../model/config.js';
import type { InstanceItem } from '../../model/instance.js';
import type { Item } from '../../model/item.js';
import { toDuration, toTimestamp } from '../../model/time.js';
import type { Matcher } from '../../domain/registry/filter.js';
import { hiddenCount, protectionOf } from '../../domain/registry/discovery.js';
import { encodeMessage } from '../call/wire.js';

/** The fields of one message beside the items. */
export interface Tail {
  readonly kind: WatchKind;
  /** 0n: more parts follow. */
  readonly revision: bigint;
  readonly resumeToken: string;
  /** Empty if the message has a revision, or if there is nothing to continue yet. */
  readonly continueToken: string;
  /** True in the first message of a stream that continues a view. */
  readonly continues: boolean;
  readonly staleForMs: number | undefined;
  /** Empty unless this is the first message. */
  readonly watchId: string;
  readonly resetReason: ResetReason;
  /** Wall-clock milliseconds. `undefined` unless this is the first message or a bookmark. */
  readonly serverMs: number | undefined;
}

/**
 * Encodes the pieces of a watch message. A protobuf message is the concatenation of its fields, so pieces that many
 * streams share are encoded once, and the few bytes of one stream are appended.
 */
export interface WatchCodec<T extends Item> {
  /** True if the changes of one revision are never split over parts, such as a publish. */
  readonly keepsRevisionsWhole: boolean;
  upserted(item: T): Uint8Array;
  removed(item: T): Uint8Array;
  /** Facts about the scopes of a delta. */
  notes(scopes: readonly Scope<T>[]): Uint8Array;
  tail(tail: Tail): Uint8Array;
}

const EMPTY = new Uint8Array(0);
/** Empty messages, to which pieces add their fields. `fromPartial` would lose fields that newer programs wrote. */
const noServices = WatchServicesResponse.create();
const noConfigs = WatchConfigResponse.create();
/** The bytes by instance: the instance object stays the same when protection moves its item. */
const instanceBytes = new WeakMap<Instance, Uint8Array>();
const configBytes = new WeakMap<ConfigItem, Uint8Array>();

function once<T extends object>(memo: WeakMap<T, Uint8Array>, item: T, encode: () => Uint8Array): Uint8Array {
  let bytes = memo.get(item);
  if (!bytes) memo.set(item, (bytes = encode()));
  return bytes;
}

function progressOf({ staleForMs, serverMs, ...fields }: Tail): WatchProgress {
  const staleFor = staleForMs === undefined ? undefined : toDuration(staleForMs);
  const serverTime = serverMs === undefined ? undefined : toTimestamp(serverMs);
  return { ...fields, staleFor, serverTime };
}

/** The codec of WatchServices. The filter decides which instances count as hidden. */
export function servicesCodec(filter: Matcher): WatchCodec<InstanceItem> {
  return {
    // Protection changes all silent instances of a service at one revision, which may need several parts.
    keepsRevisionsWhole: false,
    upserted: ({ instance }) =>
      once(instanceBytes, instance, () =>
        encodeMessage(WatchServicesResponse, { ...noServices, upserted: [instance] }),
      ),
    removed: ({ scope, name, removalReason }) => {
      const reason = removalReason ?? RemovalReason.REMOVAL_REASON_NO_LONGER_MATCHES;
      return encodeMessage(WatchServicesResponse, { ...noServices, removed: [{ service: scope, id: name, reason }] });
    },
    notes: (scopes) => {
      const services = scopes.map((scope) => ({
        service: scope.name,
        hiddenCount: hiddenCount(scope, filter),
        protection: protectionOf(scope),
      }));
      return encodeMessage(WatchServicesResponse, { ...noServices, services });
    },
    tail: (tail) => encodeMessage(WatchServicesResponse, { ...noServices, progress: progressOf(tail) }),
  };
}

/** The codec of WatchConfig. */
export const configsCodec: WatchCodec<ConfigItem> = {
  keepsRevisionsWhole: true,
  upserted: (item) =>
    once(configBytes, item, () => encodeMessage(WatchConfigResponse, { ...noConfigs, upserted: [item.config] })),
  removed: ({ scope, name, config }) =>
    encodeMessage(WatchConfigResponse, {
      ...noConfigs,
      removed: [{ group: scope, key: name, version: config.version }],
    }),
  notes: () => EMPTY,
  tail: (tail) => encodeMessage(WatchConfigResponse, { ...noConfigs, progress: progressOf(tail) }),
};
