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
/** Removed because a check of it had failed for long: a RemovalReason. */
export const CHECK_FAILED = 4;

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
  /** The checks that it defines itself. */
  readonly ownChecks: readonly CheckDefinition[];
  /** The revision at which the incarnation registered. */
  readonly begun: bigint;
  /** The revision at which it last began or ceased to have checks of its own; for each of them, the one at which it got that name. */
  readonly ownSince: bigint;
  readonly namedSince: readonly bigint[];
  /** The checks that are in force: its own, or those of its service. */
  readonly definitions: readonly CheckDefinition[];
  /** The definitions and the place that they are about, as text. */
  readonly definitionsText: string;
  /** The verdict on its checks; 0: it has none. */
  readonly check: number;
  /** The check that decided, if one did. */
  readonly decider: string;
  /** The revision at which an operator released its checks, unless there is a later verdict; 0n: nobody did. */
  readonly released: bigint;
  /** The revision at which the record of the verdict was written; 0n: there is none. */
  readonly checkRevision: bigint;
  /** Its falls, by silence and by a check. */
  readonly falls: readonly Fall[];
  /** The revision that users see: of the registration, or of what is about it. */
  readonly seen: bigint;
}

/** An instance fell: since which revision, and whether it counts. */
export interface Fall {
  readonly revision: bigint;
  readonly seasoned: boolean;
  readonly byCheck: boolean;
}

/** The verdicts on checks: CheckVerdict. */
export const VERDICTS = { PENDING: 1, PASSING: 2, DEGRADED: 3, FAILED: 4, ASSUMED: 5 };

/** A check as a record defines it. */
export interface CheckDefinition {
  readonly name: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly unhealthy: number;
  readonly healthy: number;
  readonly deregisterAfterMs: number | undefined;
}

/** The record of a verdict as it stood from one revision on. */
export interface CheckStanding {
  /** When the verdict came about, as users see it. */
  readonly revision: bigint;
  /** When the record was written. */
  readonly written: bigint;
  readonly incarnation: string;
  readonly verdict: number;
  readonly decider: string;
  readonly seasoned: boolean;
  /** True: an operator released it. */
  readonly byOperator: boolean;
  /** False: nothing that users see has changed. */
  readonly isNew: boolean;
}

/** The record of the checks of a service as it stood from one revision on. */
export interface ServiceChecksStanding {
  readonly revision: bigint;
  /** When the service got checks. */
  readonly begun: bigint;
  readonly definitions: readonly CheckDefinition[];
  /** For each of them, the revision at which the service got one of that name. */
  readonly namedSince: readonly bigint[];
}

/** Whatever is recorded about an instance beside its own record. */
export interface About {
  readonly override: OverrideStanding | undefined;
  readonly serviceChecks: ServiceChecksStanding | undefined;
  readonly check: CheckStanding | undefined;
}

/** Drained by an operator: an OverrideState. */
export const DRAIN = 1;

/**
 * What Discover and watches show unless they are asked otherwise: reported healthy or degraded, not silent, not set aside, and
 * by no check pending or failed.
 */
export function isShown({ silent, reported, override, check }: Standing): boolean {
  if (check === VERDICTS.PENDING || check === VERDICTS.FAILED) return false;
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

/** An instance with what is recorded about it. */
export function joined(state: Standing, { override, serviceChecks, check }: About): Standing {
  if (state.removal !== undefined) return state;
  let seen = state.visible;
  const changed = (by: bigint): void => void (seen = by > seen ? by : seen);
  let inForce = 0;
  if (override) {
    changed(override.revision);
    const isOf = override.incarnation === '' || override.incarnation === state.incarnation;
    inForce = override.end === 0 && isOf ? override.state : 0;
  }
  let definitions = state.ownChecks;
  const begins = (older: boolean): number => (older ? VERDICTS.PASSING : VERDICTS.PENDING);
  let verdict = definitions.length > 0 ? begins(state.begun < state.ownSince) : 0;
  let since = state.namedSince;
  if (definitions.length === 0 && serviceChecks) {
    changed(serviceChecks.revision);
    definitions = serviceChecks.definitions;
    since = serviceChecks.namedSince.map((one) => (one > state.ownSince ? one : state.ownSince));
    verdict = definitions.length > 0 ? begins(state.begun < serviceChecks.begun || state.begun < state.ownSince) : 0;
  }
  const falls: Fall[] = state.silent ? [{ revision: state.visible, seasoned: state.seasoned, byCheck: false }] : [];
  const checkRevision = check?.written ?? 0n;
  let decider = '';
  let released = 0n;
  const isOfRun = check?.incarnation === state.incarnation && check.revision > state.begun;
  if (check && definitions.length > 0 && isOfRun) {
    changed(check.revision);
    const isOf = ({ name }: CheckDefinition, i: number): boolean =>
      name === check.decider && check.revision > since[i]!;
    const stands = check.decider === '' || definitions.some(isOf);
    verdict = stands ? check.verdict : VERDICTS.PASSING;
    decider = check.decider;
    released = check.byOperator ? check.revision : 0n;
    if (verdict === VERDICTS.FAILED) falls.push({ revision: check.revision, seasoned: check.seasoned, byCheck: true });
  }
  const definitionsText = `${JSON.stringify(definitions)} ${state.place}`;
  return {
    ...state,
    override: inForce,
    definitions,
    definitionsText,
    check: verdict,
    decider,
    released,
    checkRevision,
    falls,
    seen,
  };
}

interface RawDuration {
  readonly seconds: bigint;
  readonly nanos: number;
}

interface RawCheck {
  readonly name: string;
  readonly interval: RawDuration;
  readonly timeout: RawDuration;
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
  readonly deregisterAfter?: RawDuration;
}

const msOf = ({ seconds, nanos }: RawDuration): number => Number(seconds) * 1_000 + nanos / 1e6;

const definitionOf = (check: RawCheck): CheckDefinition => ({
  name: check.name,
  intervalMs: msOf(check.interval),
  timeoutMs: msOf(check.timeout),
  unhealthy: check.unhealthyThreshold,
  healthy: check.healthyThreshold,
  deregisterAfterMs: check.deregisterAfter && msOf(check.deregisterAfter),
});

export function readCheckStanding(value: Uint8Array, revision: bigint): CheckStanding {
  const record = decode('rollcall.storage.v1.CheckRecord', value) as {
    incarnation: string;
    verdict: number;
    check: string;
    visibleRevision: bigint;
    seasoned: boolean;
    actor: { kind: number };
  };
  const { incarnation, verdict, check: decider, visibleRevision, seasoned, actor } = record;
  return {
    ...{ revision: visibleRevision || revision, written: revision, isNew: visibleRevision === 0n },
    ...{ incarnation, verdict, decider, seasoned, byOperator: actor.kind === OPERATOR },
  };
}

export function readServiceChecksStanding(value: Uint8Array, revision: bigint): ServiceChecksStanding {
  const record = decode('rollcall.storage.v1.ServiceChecksRecord', value) as {
    checks: RawCheck[];
    visibleRevision: bigint;
    beginRevision: bigint;
    checkRevisions: bigint[];
  };
  const { checks, visibleRevision, beginRevision, checkRevisions } = record;
  return {
    ...{ revision: visibleRevision || revision, begun: beginRevision || revision },
    definitions: checks.map(definitionOf),
    namedSince: checks.map((_, i) => checkRevisions[i] || revision),
  };
}

export function readStanding(key: string, value: Uint8Array, revision: bigint, at: number): Standing {
  const record = decode('rollcall.storage.v1.InstanceRecord', value) as {
    silent: boolean;
    seasoned: boolean;
    visibleRevision: bigint;
    incarnationRevision: bigint;
    checksRevision: bigint;
    checkRevisions: bigint[];
    tombstone?: { reason: number };
    instance: {
      checks: RawCheck[];
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
    ownChecks: instance.checks.map(definitionOf),
    begun: record.incarnationRevision || revision,
    ownSince: record.checksRevision || revision,
    namedSince: instance.checks.map((_, i) => record.checkRevisions[i] || revision),
    definitions: [],
    definitionsText: '',
    check: 0,
    decider: '',
    released: 0n,
    checkRevision: 0n,
    falls: [],
    seen: record.visibleRevision || revision,
  };
}
