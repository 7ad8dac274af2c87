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

/**
 * Holds what happened against what was promised. It knows the wire and the store only by the compiled protos, and
 * shares no code with what it checks.
 */
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
  readonly reported: number;
  readonly removal: number | undefined;
  /** The revision that users see. */
  readonly visible: bigint;
}

/** A call that a client made. */
export interface CallOf {
  readonly kind: 'register' | 'deregister';
  readonly key: string;
  readonly incarnation: string;
  readonly from: number;
  /** Infinity while nobody knows the outcome. */
  to: number;
}

const EXPIRED = 2;
const E5_MS = 300;
/** What is found at a start has this long to be heard, before its ttl begins. */
const GRACE_MS = 30_000;

/** A promise that was broken. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

export class Checker {
  /** Every state of every instance record, in order. */
  readonly history = new Map<string, Standing[]>();
  /** By service: from which revisions on it was protected, and was not. */
  readonly #protections = new Map<string, { revision: bigint; active: boolean }[]>();
  readonly #calls: CallOf[] = [];
  /** When the server acknowledged a beat or a Register of an incarnation: received, answered. */
  readonly #acks = new Map<string, { received: number; answered: number }[]>();
  /** When the world was not well: crashes, stalls, outages, from and to. */
  readonly #faults: { from: number; to: number; isGrace: boolean }[] = [];
  /** When the server started last. */
  #startedAt = 0;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  fail(invariant: string, what: string): never {
    throw new Broken(`${invariant}: ${what} (at ${this.#now().toFixed(2)} ms)`);
  }

  /** The world was not well for a while; what still waits for a grace waits for so much longer. */
  fault(from: number, to: number): void {
    for (const fault of this.#faults) if (fault.isGrace && from < fault.to) fault.to += to - from;
    this.#faults.push({ from, to, isGrace: false });
  }

  /** Every ttl begins anew now, behind a grace. */
  grace(): void {
    this.#faults.push({ from: this.#now() - 1, to: this.#now() + GRACE_MS + 1_000, isGrace: true });
  }

  /** The server started: what it found in the store it has not heard yet. */
  started(): void {
    this.#startedAt = this.#now();
  }

  began(kind: CallOf['kind'], key: string, incarnation: string): CallOf {
    const call: CallOf = { kind, key, incarnation, from: this.#now(), to: Infinity };
    this.#calls.push(call);
    return call;
  }

  /** The store committed a revision. */
  committed(revision: bigint, changes: readonly { key: string; value: Uint8Array | undefined }[]): void {
    for (const { key, value } of changes) {
      if (key.startsWith('p/') && value) this.#protection(key, value, revision);
      if (!key.startsWith('i/') || !value) continue;
      const states = this.history.get(key) ?? [];
      this.history.set(key, states);
      const next = readStanding(key, value, revision, this.#now());
      this.#checkStep(states[states.length - 1], next);
      states.push(next);
    }
  }

  /** A beat was acknowledged. */
  beatAcknowledged(key: string, incarnation: string, received: number): void {
    const answered = this.#now();
    const now = this.standing(key);
    if (now && now.removal === undefined && now.incarnation === incarnation && now.silent) {
      this.fail('9', `${key} was acknowledged while it was SILENT`);
    }
    this.#acksOf(key, incarnation).push({ received, answered });
  }

  registered(call: CallOf, revision: bigint, received: number): void {
    call.to = this.#now();
    const wrote = this.history
      .get(call.key)
      ?.some(
        (state) => state.visible === revision && state.incarnation === call.incarnation && state.removal === undefined,
      );
    if (!wrote)
      this.fail('6', `Register of ${call.key} was acknowledged at ${revision}, which the store does not have`);
    this.#acksOf(call.key, call.incarnation).push({ received, answered: this.#now() });
  }

  deregistered(call: CallOf, revision: bigint): void {
    call.to = this.#now();
    const wrote = this.history
      .get(call.key)
      ?.some((state) => state.revision === revision && state.removal !== undefined);
    if (!wrote)
      this.fail('6', `Deregister of ${call.key} was acknowledged at ${revision}, which the store does not have`);
  }

  /** A beat was rejected as NOT_REGISTERED or SUPERSEDED between two moments. */
  rejected(reason: 'NOT_REGISTERED' | 'SUPERSEDED', key: string, incarnation: string, received: number): void {
    const during = this.#during(key, received);
    const deserved = during.some((state) =>
      reason === 'NOT_REGISTERED'
        ? !state || state.removal !== undefined
        : state && state.removal === undefined && state.incarnation !== incarnation,
    );
    if (!deserved) this.fail('10', `${reason} was said to ${key} ${incarnation}, which held the id all along`);
  }

  standing(key: string): Standing | undefined {
    return this.history.get(key)?.at(-1);
  }

  /** What stood at a key at a revision. */
  at(key: string, revision: bigint): Standing | undefined {
    return this.history.get(key)?.findLast((state) => state.revision <= revision);
  }

  /** W1: a view equals the store at its revision. */
  viewIs(services: readonly string[], view: ReadonlyMap<string, bigint>, revision: bigint): void {
    for (const key of this.history.keys()) {
      const state = this.at(key, revision);
      const [, , service] = key.split('/');
      const shown =
        state &&
        services.includes(service!) &&
        state.removal === undefined &&
        (isShown(state) || (isAiling(state) && this.#isProtected(service!, revision)));
      const expected = shown ? state.visible : undefined;
      if (view.get(key) !== expected)
        this.fail('W1', `a view at ${revision} shows ${key} at ${view.get(key)}, and the store has ${expected}`);
    }
  }

  #protection(key: string, value: Uint8Array, revision: bigint): void {
    const { active } = decode('rollcall.storage.v1.ProtectionRecord', value) as { active: boolean };
    const service = key.split('/')[2]!;
    const states = this.#protections.get(service) ?? [];
    this.#protections.set(service, [...states, { revision, active }]);
  }

  #isProtected(service: string, revision: bigint): boolean {
    return this.#protections.get(service)?.findLast((state) => state.revision <= revision)?.active ?? false;
  }

  #acksOf(key: string, incarnation: string): { received: number; answered: number }[] {
    const name = `${key} ${incarnation}`;
    const acks = this.#acks.get(name) ?? [];
    this.#acks.set(name, acks);
    return acks;
  }

  /** The states of a key between a moment and now; undefined: nothing stood there. */
  #during(key: string, from: number): (Standing | undefined)[] {
    const states = this.history.get(key) ?? [];
    const before = states.findLast((state) => state.at <= from);
    return [before, ...states.filter((state) => state.at > from)];
  }

  /** Every change of a record must have somebody who may have made it. */
  #checkStep(before: Standing | undefined, next: Standing): void {
    const live = before && before.removal === undefined ? before : undefined;
    const called = (kind: CallOf['kind']): boolean =>
      this.#calls.some(
        (call) =>
          call.kind === kind &&
          call.key === next.key &&
          call.from <= next.at &&
          call.to >= next.at &&
          (kind === 'deregister' || call.incarnation === next.incarnation),
      );
    if (next.removal === EXPIRED) {
      if (!live?.silent) this.fail('6', `${next.key} expired without having been SILENT`);
      return;
    }
    if (next.removal !== undefined) {
      if (!called('deregister')) this.fail('6', `${next.key} was removed, and nobody asked for it`);
      return;
    }
    if (!live || live.incarnation !== next.incarnation) {
      if (!called('register')) this.fail('8', `${next.key} came back or changed hands, and nobody registered it`);
      return;
    }
    if (next.silent && !live.silent) this.#checkVerdict(next);
  }

  /** E3: not before the ttl has passed since any acknowledged beat, and soon after when all is well. */
  #checkVerdict(verdict: Standing): void {
    const acks = this.#acksOf(verdict.key, verdict.incarnation);
    const changed = this.history.get(verdict.key)!.at(-1)!.at;
    const heardSince = changed >= this.#startedAt || acks.some(({ received }) => received >= this.#startedAt);
    const earliest = this.#startedAt + GRACE_MS + verdict.ttlMs;
    if (!heardSince && this.#startedAt > 0 && verdict.at < earliest) {
      this.fail(
        'E3',
        `${verdict.key}, found at the start at ${this.#startedAt}, was declared silent before ${earliest}`,
      );
    }
    for (const { received, answered } of acks) {
      if (answered <= verdict.at && verdict.at < received + verdict.ttlMs - 0.001) {
        this.fail(
          'E3',
          `${verdict.key} was declared silent ${(verdict.at - received).toFixed(2)} ms after an acknowledged beat, with a ttl of ${verdict.ttlMs} ms`,
        );
      }
    }
  }

  /** E5, looked at when the run is over: `deaths` says when the last message of a process can have reached the server. */
  checkDetection(deaths: readonly { key: string; incarnation: string; lastReceived: number }[]): number {
    let measured = 0;
    for (const { key, incarnation, lastReceived } of deaths) {
      const states = this.history.get(key) ?? [];
      const index = states.findIndex(
        (state) => state.silent && state.incarnation === incarnation && state.at > lastReceived,
      );
      const lastChange = states.findLast(
        (state) =>
          state.at <= (states[index]?.at ?? Infinity) &&
          state.incarnation === incarnation &&
          !state.silent &&
          state.removal === undefined,
      );
      if (!lastChange) continue;
      const due = Math.max(lastReceived, lastChange.at) + lastChange.ttlMs + E5_MS;
      // After a start the instances found in the store have a grace; any fault since the last beat moves the verdict.
      if (this.#faults.some((fault) => fault.to > lastReceived - 1_000 && fault.from < due)) continue;
      const replaced = states.some(
        (state) =>
          state.at > lastReceived &&
          state.at <= due &&
          (state.incarnation !== incarnation || state.removal !== undefined),
      );
      if (replaced || due > this.#now()) continue;
      const verdict = states[index];
      if (!verdict || verdict.at > due)
        this.fail(
          'E5',
          `${key} fell silent at ${lastReceived.toFixed(0)}, and was declared so at ${verdict?.at.toFixed(0)}, later than ${due.toFixed(0)}`,
        );
      measured++;
    }
    return measured;
  }
}

/** What Discover and watches show unless they are asked otherwise: reported healthy or degraded, and not silent. */
export function isShown({ silent, reported }: Standing): boolean {
  return !silent && (reported === 0 || reported === 1 || reported === 3);
}

/** What protection shows beside: silent, or reported unhealthy. */
export function isAiling({ silent, reported }: Standing): boolean {
  return silent || reported === 4;
}

export function readStanding(key: string, value: Uint8Array, revision: bigint, at: number): Standing {
  const record = decode('rollcall.storage.v1.InstanceRecord', value) as {
    silent: boolean;
    visibleRevision: bigint;
    tombstone?: { reason: number };
    instance: {
      service: string;
      id: string;
      incarnation: string;
      ttl?: { seconds: bigint; nanos: number };
      reported?: { state: number };
    };
  };
  const { service, id, incarnation, ttl, reported } = record.instance;
  return {
    at,
    revision,
    key,
    service,
    id,
    incarnation,
    ttlMs: ttl ? Number(ttl.seconds) * 1000 + ttl.nanos / 1e6 : 15_000,
    silent: record.silent,
    reported: reported?.state ?? 0,
    removal: record.tombstone?.reason,
    visible: record.visibleRevision || revision,
  };
}
