import type { Clock } from '../../base/clock.js';
import { Listeners } from '../../base/listeners.js';
import type { Telemetry } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { CatalogChange } from '../../catalog/changes.js';
import { MEMBER } from '../../catalog/kinds.js';
import type { MemberItem } from '../../model/member.js';
import type { PeerStoreStatus } from '../health/peers.js';
import { Checkers } from './checkers.js';
import { Judges } from './judges.js';
import type { PeerLinks } from './peer-links.js';
import { COUNTERS } from './instruments.js';

/** The membership of this process: the part that Members needs. */
export interface OwnMembership {
  readonly epoch: bigint;
  /** Called when the member key of this process is known to be gone. */
  readonly lost: () => void;
}

/** The dependencies of Members. */
export interface MembersParts {
  /** The id of this process. */
  readonly id: string;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly links: PeerLinks;
  /** The membership of this process; `undefined` if it has none. */
  readonly own: () => OwnMembership | undefined;
  /** Called when the watch of this process shows a rewrite of its own member key. */
  readonly onOwnKey: (writeId: string) => void;
}

/** Follows the member keys: which members exist, which service each of them judges, and which departures were clean. */
export class Members {
  /** Called when the set of members has changed. */
  readonly changed = new Listeners<[]>();
  /** Called after a disturbance. */
  readonly disturbed = new Listeners<[]>();
  readonly #judges = new Judges();
  readonly #checkers = new Checkers();
  /** The last rewrite of each member that the watch of this process has shown. */
  readonly #seen = new Map<string, { readonly writeId: string; readonly atMs: number }>();
  #hasJoined = false;

  constructor(private readonly parts: MembersParts) {}

  /** Follows the catalog until `signal` is aborted. */
  start(signal: AbortSignal): void {
    this.parts.catalog.subscribe('membership', (change) => this.#take(change), signal);
  }

  /** The id of the member that judges a service. `undefined` if there are no members. */
  judgeOf(namespace: string, service: string): string | undefined {
    return this.#judges.of(namespace, service);
  }

  /** The id of the member that probes the instance at a key. `undefined` if there are no members. */
  checkerOf(key: string): string | undefined {
    return this.#checkers.of(key);
  }

  /** The last rewrite of a member that the watch of this process has shown. */
  seenOf(id: string): PeerStoreStatus['seen'] {
    const seen = this.#seen.get(id);
    return seen && { writeId: seen.writeId, ageMs: this.parts.clock.now() - seen.atMs };
  }

  /** Notes that this process joined. `disturbs`: other members may have heard beats that this process has not. */
  joined(epoch: bigint, disturbs: boolean): void {
    if (disturbs) this.#disturb();
    if (this.parts.catalog.has(epoch)) this.#elect();
    this.#hasJoined = true;
  }

  #take(change: CatalogChange): void {
    for (const { before, after } of change.of(MEMBER)) this.#memberChanged(before, after);
  }

  #memberChanged(before: MemberItem | undefined, after: MemberItem | undefined): void {
    const { id, clock, telemetry, onOwnKey } = this.parts;
    if (after?.name === id) onOwnKey(after.record.writeId);
    if (after) this.#seen.set(after.name, { writeId: after.record.writeId, atMs: clock.now() });
    else if (before) this.#seen.delete(before.name);
    const isSame = before !== undefined && before.epoch === after?.epoch;
    if (isSame) return;
    if (before) this.#departed(before);
    if (after && after.name !== id && this.#hasJoined)
      telemetry.log.info({ member: after.name, node: after.record.node }, 'a member has joined');
    this.#elect();
  }

  #departed({ name, epoch, record }: MemberItem): void {
    const { id, links, telemetry } = this.parts;
    links.drop(name);
    const own = this.parts.own();
    if (name === id && epoch === own?.epoch) own.lost();
    const tookOver = record.handedOverTo.some((one) => one.id === id && one.epoch === own?.epoch);
    // A process without a membership took nothing over and cannot tell whether the departure was clean.
    if (name !== id)
      telemetry.log.info({ member: name, node: record.node, ...(own && { clean: tookOver }) }, 'a member has left');
    if (!tookOver) this.#disturb();
  }

  #elect(): void {
    const { id, catalog, links } = this.parts;
    const { members } = catalog;
    const ids = members.map(({ name }) => name);
    this.#judges.elect(ids);
    // If no member probes, one of them must still say so of each instance.
    const probing = members.filter(({ record }) => !record.probesNothing).map(({ name }) => name);
    this.#checkers.elect(probing.length > 0 ? probing : ids);
    for (const member of members) if (member.name !== id) links.to(member);
    this.changed.call();
  }

  #disturb(): void {
    this.parts.telemetry.counters.add(COUNTERS.disturbances);
    this.disturbed.call();
  }
}
