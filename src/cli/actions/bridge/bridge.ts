import { CallError } from '../../../client/call-error.js';
import type { Client } from '../../../client/client.js';
import { type HeartbeatItem, RejectionReason } from '../../../gen/rollcall/v1/heartbeat.js';
import { Code } from '../../../model/errors.js';
import { LIMITS } from '../../../model/limits.js';
import { everyPage } from '../../shown.js';
import type { ForeignInstance, ForeignRegistry, Found } from './foreign.js';
import { inParallel } from './in-parallel.js';
import { LABEL, keyOf, type Mirrored, mirroredAll } from './mirrored.js';

/** An instance is removed once this number of answers in a row did not have it. */
const MISSED_MAX = 2;
/** Registrations and removals that are under way at once. */
const AT_ONCE = 16;

/** An instance that the bridge keeps. */
interface Kept {
  readonly service: string;
  readonly id: string;
  incarnation: string;
  /** As the registry had it last. `undefined`: a bridge before this one registered it, and the registry has not answered since. */
  wanted: Mirrored | undefined;
  /** The registration as text, and the state that the last heartbeat took. */
  registered: string;
  reported: string;
  /** The answers in a row that did not have it. */
  missed: number;
  /** Why it is left alone. */
  leftAlone: string | undefined;
}

/** The dependencies of a Bridge. */
export interface BridgeParts {
  readonly client: Pick<Client, 'registry'>;
  readonly registry: ForeignRegistry;
  readonly namespace: string;
  /** Marks the instances of this bridge. */
  readonly label: string;
  /** A line for a person. */
  readonly report: (line: string) => void;
  readonly now: () => number;
}

/** The state of a bridge, for its metrics. */
export interface BridgeState {
  readonly instances: number;
  readonly leftAlone: number;
  /** Milliseconds since the registry answered last. */
  readonly staleForMs: number;
  readonly failedReads: number;
  readonly registrations: number;
  readonly removals: number;
}

/**
 * Mirrors the instances of a foreign registry into a namespace, one way. It touches only what carries its label.
 *
 * A registry that does not answer, or answers with none of what it had, changes nothing: the instances are kept as they were.
 */
export class Bridge {
  readonly #kept = new Map<string, Kept>();
  /** The runs that this bridge removed itself, because the registry had them no longer. */
  readonly #removed = new Set<string>();
  readonly #said = new Set<string>();
  #answeredAtMs: number;
  /** Why the last read changed nothing. `undefined`: it was as it should be. */
  #staleWhy: string | undefined;
  #failedReads = 0;
  #registrations = 0;
  #removals = 0;

  constructor(private readonly parts: BridgeParts) {
    this.#answeredAtMs = parts.now();
  }

  get state(): BridgeState {
    const all = [...this.#kept.values()];
    return {
      instances: all.filter(({ leftAlone }) => leftAlone === undefined).length,
      leftAlone: all.filter(({ leftAlone }) => leftAlone !== undefined).length,
      staleForMs: this.parts.now() - this.#answeredAtMs,
      failedReads: this.#failedReads,
      registrations: this.#registrations,
      removals: this.#removals,
    };
  }

  /** Takes over what a bridge with the same label registered before: it may have ended a minute ago, or run beside this one. */
  async adopt(signal: AbortSignal): Promise<void> {
    const { client, namespace, label } = this.parts;
    const filter = { metadata: new Map([[LABEL, label]]) };
    const { instances } = await everyPage(
      (page) => client.registry.listInstances({ ...page, namespace, filter }, { signal }),
      'instances',
    );
    for (const { service, id, incarnation } of instances)
      this.#keep(service, id, incarnation).registered = 'by a bridge before';
  }

  /** Reads the registry once. `undefined`: it did not answer. */
  async read(signal: AbortSignal): Promise<Found | undefined> {
    const { registry } = this.parts;
    try {
      return await registry.read(signal);
    } catch (error) {
      if (!signal.aborted) this.#stale(`${registry.kind} did not answer: ${(error as Error).message}`);
      return undefined;
    }
  }

  /** Registers and removes what has changed by an answer of the registry. */
  async apply({ instances, unreadable }: Found, signal: AbortSignal): Promise<void> {
    const { registry, now } = this.parts;
    for (const line of unreadable) this.#say(line, `${line}; it is left out, and nothing is removed meanwhile`);
    const wanted = this.#wanted(instances);
    const had = [...this.#kept].filter(([, { leftAlone }]) => leftAlone === undefined);
    if (had.length > 0 && !had.some(([key]) => wanted.has(key)))
      return this.#stale(`${registry.kind} answered with none of the ${had.length} instances that it had`);
    if (this.#staleWhy !== undefined) this.parts.report(`${registry.kind} answers again`);
    this.#staleWhy = undefined;
    this.#answeredAtMs = now();
    const missing: Kept[] = [];
    for (const [key, kept] of this.#kept) {
      if (wanted.has(key)) kept.missed = 0;
      else if (unreadable.length === 0) kept.missed++;
      if (kept.missed >= MISSED_MAX) missing.push(kept);
    }
    await inParallel([...wanted], AT_ONCE, ([key, one]) => this.#register(key, one, signal));
    await inParallel(missing, AT_ONCE, (kept) => this.#remove(kept, signal));
  }

  /** Sends the heartbeats of all instances that are kept, with their states. */
  async beat(signal: AbortSignal): Promise<void> {
    const lost = [...this.#kept].filter(
      ([, { leftAlone, registered }]) => leftAlone === undefined && registered === '',
    );
    await inParallel(lost, AT_ONCE, async ([key, { wanted }]) => wanted && this.#register(key, wanted, signal));
    const { client, namespace } = this.parts;
    const alive = [...this.#kept].filter(
      ([, { leftAlone, registered }]) => leftAlone === undefined && registered !== '',
    );
    for (let i = 0; i < alive.length; i += LIMITS.HEARTBEAT_ITEMS.value) {
      const part = alive.slice(i, i + LIMITS.HEARTBEAT_ITEMS.value);
      const items = part.map(([, { service, id, incarnation, wanted }]): Partial<HeartbeatItem> => {
        const reported = wanted && { state: wanted.state, note: wanted.note };
        return { namespace, service, id, incarnation, ...(reported && { reported }) };
      });
      try {
        const { rejected } = await client.registry.heartbeat({ instances: items }, { signal });
        for (const [, kept] of part) kept.reported = reportedOf(kept.wanted);
        for (const { index, reason } of rejected) this.#rejected(part[index]![1], reason);
      } catch (error) {
        if (signal.aborted) return;
        this.#say('beat', `heartbeats were not taken, and are sent again: ${(error as Error).message}`);
        return;
      }
    }
    this.#said.delete('beat');
  }

  /** True if a state has changed since the last heartbeat. */
  get hasNews(): boolean {
    return [...this.#kept.values()].some(
      ({ leftAlone, registered, wanted, reported }) =>
        leftAlone === undefined && registered !== '' && wanted !== undefined && reportedOf(wanted) !== reported,
    );
  }

  #keep(service: string, id: string, incarnation: string): Kept {
    const kept: Kept = {
      ...{ service, id, incarnation, wanted: undefined, registered: '', reported: '' },
      ...{ missed: 0, leftAlone: undefined },
    };
    this.#kept.set(keyOf(service, id), kept);
    return kept;
  }

  /** The instances to mirror, by the names that they have here. */
  #wanted(found: readonly ForeignInstance[]): Map<string, Mirrored> {
    const { registry, label } = this.parts;
    const { wanted, remarks } = mirroredAll(registry.kind, label, found);
    remarks.forEach((remark) => this.#say(remark, remark));
    return wanted;
  }

  async #register(key: string, wanted: Mirrored, signal: AbortSignal): Promise<void> {
    const { client, namespace } = this.parts;
    const { service, id, incarnation, instance, state, note } = wanted;
    let kept = this.#kept.get(key);
    if (kept?.leftAlone !== undefined) {
      if (kept.incarnation === incarnation) return;
      kept.leftAlone = undefined; // it was registered again over there
    }
    const text = `${incarnation} ${JSON.stringify(instance, withMaps)}`;
    if (kept) kept.wanted = wanted;
    if (kept?.registered === text) return;
    try {
      if (!kept && (await this.#isTaken(service, id, signal))) {
        kept = this.#keep(service, id, incarnation);
        return this.#leaveAlone(kept, 'an instance that this bridge did not register has this name');
      }
      kept ??= this.#keep(service, id, incarnation);
      kept.wanted = wanted;
      const request = { instance: { ...instance, namespace, reported: { state, note } }, incarnation };
      await client.registry.register(request as never, { signal }).catch((error: unknown) => {
        const revision = revisionOfRemoval(error);
        if (revision === undefined || !this.#removed.has(incarnation)) throw error;
        return client.registry.register({ ...request, replacesRevision: revision }, { signal });
      });
      this.#registrations++;
      this.#removed.delete(incarnation);
      Object.assign(kept, { incarnation, registered: text, reported: reportedOf(wanted) });
      this.#said.delete(`register ${key}`);
    } catch (error) {
      if (signal.aborted) return;
      if (revisionOfRemoval(error) !== undefined) {
        kept ??= this.#keep(service, id, incarnation);
        kept.incarnation = incarnation;
        return this.#leaveAlone(kept, 'it was deregistered here, and stays so until it is registered again over there');
      }
      this.#say(`register ${key}`, `${key} was not registered, and is tried again: ${(error as Error).message}`);
    }
  }

  async #isTaken(service: string, id: string, signal: AbortSignal): Promise<boolean> {
    const { client, namespace, label } = this.parts;
    try {
      const { instance } = await client.registry.getInstance({ namespace, service, id }, { signal });
      return instance?.metadata.get(LABEL) !== label;
    } catch (error) {
      if (error instanceof CallError && error.code === Code.NOT_FOUND) return false;
      throw error;
    }
  }

  async #remove(kept: Kept, signal: AbortSignal): Promise<void> {
    const { client, namespace } = this.parts;
    const { service, id, incarnation, leftAlone } = kept;
    const key = keyOf(service, id);
    try {
      if (leftAlone === undefined) {
        await client.registry.deregister({ namespace, service, id, incarnation }, { signal });
        this.#removals++;
        this.#removed.add(incarnation);
        this.parts.report(`${key}: removed; the registry has it no longer`);
      }
      this.#kept.delete(key);
    } catch (error) {
      const isGone =
        error instanceof CallError && (error.code === Code.NOT_FOUND || error.code === Code.FAILED_PRECONDITION);
      if (isGone) this.#kept.delete(key);
      else if (!signal.aborted)
        this.#say(`remove ${key}`, `${key} was not removed, and is tried again: ${(error as Error).message}`);
    }
  }

  #rejected(kept: Kept, reason: RejectionReason): void {
    switch (reason) {
      case RejectionReason.REJECTION_REASON_NOT_REGISTERED:
        kept.registered = ''; // before the next heartbeat it is registered again
        return;
      case RejectionReason.REJECTION_REASON_SUPERSEDED:
        return this.#leaveAlone(kept, 'another process has registered under its name');
      case RejectionReason.REJECTION_REASON_DEREGISTERED:
        return this.#leaveAlone(kept, 'it was deregistered here, and stays so until it is registered again over there');
      case RejectionReason.REJECTION_REASON_NOT_ALLOWED:
        return this.#say(`beat ${kept.service}`, `${kept.service}: the bridge may not register it`);
      default:
    }
  }

  #leaveAlone(kept: Kept, why: string): void {
    kept.leftAlone = why;
    this.#say(`${keyOf(kept.service, kept.id)} ${why}`, `${keyOf(kept.service, kept.id)}: left alone; ${why}`);
  }

  #stale(why: string): void {
    this.#failedReads++;
    if (why !== this.#staleWhy) this.parts.report(`${why}; everything is kept as it was`);
    this.#staleWhy = why;
  }

  /** Says a thing once, until it is over. */
  #say(about: string, line: string): void {
    if (this.#said.has(about)) return;
    this.#said.add(about);
    this.parts.report(line);
  }
}

const reportedOf = (one: Mirrored | undefined): string => (one ? `${one.state} ${one.note}` : '');
const withMaps = (_: string, value: unknown): unknown =>
  value instanceof Map ? Object.fromEntries(value) : typeof value === 'bigint' ? String(value) : value;

/** The revision at which somebody deregistered the run that was to be registered. `undefined`: that is not why it failed. */
function revisionOfRemoval(error: unknown): bigint | undefined {
  if (!(error instanceof CallError) || error.reason !== 'DEREGISTERED') return undefined;
  const revision = error.metadata.get('revision');
  return revision === undefined ? undefined : BigInt(revision);
}
