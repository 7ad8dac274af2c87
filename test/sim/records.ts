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
  /** The revision at which the record was written. */
  readonly revision: bigint;
  /** The revision from which on it stands so: of the record, or of its override. */
  readonly from: bigint;
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
  /** The revision of the registration. */
  readonly visible: bigint;
  /** The override in force: an OverrideState; 0: none that sets a state. */
  readonly override: number;
  /** The revision that users see: of the registration, or of its override. */
  readonly seen: bigint;
}

/** Drained by an operator: an OverrideState. */
export const DRAIN = 1;

/** What Discover and watches show unless they are asked otherwise: reported healthy or degraded, not silent, not set aside. */
export function isShown({ silent, reported, override }: Standing): boolean {
  return !silent && override === 0 && (reported === 0 || reported === 1 || reported === 3);
}

/** True: an incarnation holds the id. */
export function isLiveOf(state: Standing, incarnation: string): boolean {
  return state.incarnation === incarnation && state.removal === undefined;
}

/** True: the removal of an incarnation that was deregistered stands. */
export function isGoodbyeOf(state: Standing | undefined, incarnation: string): boolean {
  return state?.removal === DEREGISTERED && state.incarnation === incarnation;
}

/** An override record as it stood from one revision on. */
export interface OverrideStanding {
  readonly at: number;
  /** When it was set or ended, as users see it. */
  readonly revision: bigint;
  readonly state: number;
  readonly incarnation: string;
  /** By the wall clock; undefined: never. */
  readonly expiresAt: number | undefined;
  /** An OverrideEnd; 0: it is in force. */
  readonly end: number;
  /** True: an operator set or ended it. */
  readonly byOperator: boolean;
}

/** Ends of overrides: OverrideEnd. */
export const CLEARED = 1;
export const OVER = 2;
export const NEW_RUN = 3;

export function readOverrideStanding(value: Uint8Array, revision: bigint, at: number): OverrideStanding {
  const record = decode('rollcall.storage.v1.OverrideRecord', value) as {
    state: number;
    incarnation: string;
    visibleRevision: bigint;
    end: number;
    actor: { kind: number };
    expireTime?: { seconds: bigint; nanos: number };
  };
  const { state, incarnation, visibleRevision, end, actor, expireTime } = record;
  const expiresAt = expireTime && Number(expireTime.seconds) * 1_000 + expireTime.nanos / 1e6;
  const isOperator = actor.kind === OPERATOR;
  return { at, revision: visibleRevision || revision, state, incarnation, expiresAt, end, byOperator: isOperator };
}

/** An ActorKind. */
export const OPERATOR = 2;

/** An instance under its override. */
export function overridden(state: Standing, override: OverrideStanding | undefined): Standing {
  if (!override || state.removal !== undefined) return state;
  const inForce = override.end === 0 && (override.incarnation === '' || override.incarnation === state.incarnation);
  const seen = override.revision > state.visible ? override.revision : state.visible;
  return { ...state, override: inForce ? override.state : 0, seen };
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
    from: revision,
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
    override: 0,
    seen: record.visibleRevision || revision,
  };
}
