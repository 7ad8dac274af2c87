import { readFileSync } from 'node:fs';
import {
  create,
  createFileRegistry,
  type DescMessage,
  fromBinary,
  type MessageInitShape,
  toBinary,
} from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';

/** The wire and the store as the compiled protos have them: what checks the program shares no code with it. */
const registry = createFileRegistry(
  fromBinary(FileDescriptorSetSchema, readFileSync(new URL('../../src/gen/image.binpb', import.meta.url))),
);

/** Decodes bytes by the name of their message; fields are in lower camel case, enums are numbers. */
export function decode(name: string, bytes: Uint8Array): Record<string, unknown> {
  return fromBinary(registry.getMessage(name) as DescMessage, bytes);
}

/** Encodes fields, named as `decode` names them, as the message of a name. */
export function encode(name: string, fields: object): Uint8Array {
  const message = registry.getMessage(name) as DescMessage;
  return toBinary(message, create(message, fields as MessageInitShape<DescMessage>));
}

/** Removed by a client or an operator: a RemovalReason. */
export const DEREGISTERED = 1;
/** Removed for its silence: a RemovalReason. */
export const EXPIRED = 2;

/** An instance record as it stood from one revision on. */
export interface Standing {
  readonly at: number;
  readonly revision: bigint;
  readonly key: string;
  readonly service: string;
  readonly id: string;
  readonly incarnation: string;
  readonly ttlMs: number;
  readonly silent: boolean;
  /** Written by a verdict: the instance counts in a protection. */
  readonly seasoned: boolean;
  /** The address and port. */
  readonly place: string;
  readonly reported: number;
  readonly removal: number | undefined;
  /** The revision that users see. */
  readonly visible: bigint;
}

/** What Discover and watches show unless they are asked otherwise: reported healthy or degraded, and not silent. */
export function isShown({ silent, reported }: Standing): boolean {
  return !silent && (reported === 0 || reported === 1 || reported === 3);
}

/** True: an incarnation holds the id. */
export function isLiveOf(state: Standing, incarnation: string): boolean {
  return state.incarnation === incarnation && state.removal === undefined;
}

/** True: the removal of an incarnation that was deregistered stands. */
export function isGoodbyeOf(state: Standing | undefined, incarnation: string): boolean {
  return state?.removal === DEREGISTERED && state.incarnation === incarnation;
}

export function readStanding(key: string, value: Uint8Array, revision: bigint, at: number): Standing {
  const record = decode('rollcall.storage.v1.InstanceRecord', value) as {
    silent: boolean;
    seasoned: boolean;
    visibleRevision: bigint;
    tombstone?: { reason: number };
    instance: {
      service: string;
      id: string;
      incarnation: string;
      address: string;
      port: number;
      ttl?: { seconds: bigint; nanos: number };
      reported?: { state: number };
    };
  };
  const { instance } = record;
  const { service, id, incarnation, ttl, reported } = instance;
  return {
    at,
    revision,
    key,
    service,
    id,
    incarnation,
    ttlMs: ttl ? Number(ttl.seconds) * 1000 + ttl.nanos / 1e6 : 15_000,
    silent: record.silent,
    seasoned: record.seasoned,
    place: `${instance.address}:${instance.port}`,
    reported: reported?.state ?? 0,
    removal: record.tombstone?.reason,
    visible: record.visibleRevision || revision,
  };
}
