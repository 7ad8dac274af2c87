import { type Actor, Cause } from '../../gen/rollcall/v1/cause.js';
import type { Health, HealthReason } from '../../gen/rollcall/v1/instance.js';
import type { TransitionKind } from '../../gen/rollcall/v1/transition.js';
import { instanceKey, INSTANCES } from '../../model/instance.js';
import { serviceChecksKey } from '../../model/check.js';
import { protectionKey } from '../../model/protection.js';

/** A transition in the ring. */
export interface Entry {
  /** A safe integer: a bigint would cost more memory. */
  readonly revision: number;
  /** Wall-clock milliseconds, of the server that wrote. */
  readonly timeMs: number;
  readonly kind: TransitionKind;
  /** The key of the record that was written: of a revision, it is unique. */
  readonly key: string;
  readonly namespace: string;
  readonly service: string;
  /** Empty for a protection, the checks of a service, and a member. */
  readonly id: string;
  readonly incarnation: string;
  readonly from: Health;
  readonly to: Health;
  readonly reason: HealthReason;
  readonly actor: Actor | undefined;
  readonly comment: string;
  readonly cause: Cause | undefined;
  /** The node of a member. */
  readonly node: string;
}

/** The bounds of a ring, in entries. */
export interface RingBounds {
  readonly all: number;
  /** Of one instance, so that one that flaps does not push out the others. */
  readonly ofInstance: number;
  /** Of one service. */
  readonly ofService: number;
}

/**
 * An entry in its place, with its neighbors among all, among those of its instance and among those of its service.
 *
 * It is made for memory, a third of what objects that refer to one another would take: the fields of the entry and the links are in one
 * object of one shape, and a cause is kept encoded.
 */
class Place {
  readonly revision: number;
  readonly timeMs: number;
  readonly kind: TransitionKind;
  readonly key: string;
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
  readonly incarnation: string;
  readonly from: Health;
  readonly to: Health;
  readonly reason: HealthReason;
  readonly actor: Actor | undefined;
  readonly comment: string;
  readonly encodedCause: string;
  readonly node: string;
  before: Place | undefined = undefined;
  after: Place | undefined = undefined;
  beforeOfChain: Place | undefined = undefined;
  afterOfChain: Place | undefined = undefined;
  beforeOfService: Place | undefined = undefined;
  afterOfService: Place | undefined = undefined;

  constructor(
    entry: Entry,
    /** Grows with each newer entry. */
    readonly number: number,
  ) {
    this.revision = entry.revision;
    this.timeMs = entry.timeMs;
    this.kind = entry.kind;
    this.key = entry.key;
    this.namespace = entry.namespace;
    this.service = entry.service;
    this.id = entry.id;
    this.incarnation = entry.incarnation;
    this.from = entry.from;
    this.to = entry.to;
    this.reason = entry.reason;
    this.actor = entry.actor;
    this.comment = entry.comment;
    this.encodedCause = entry.cause ? Buffer.from(Cause.encode(entry.cause).finish()).toString('latin1') : '';
    this.node = entry.node;
  }

  get entry(): Entry {
    const { revision, timeMs, kind, key, namespace, service, id, incarnation, from, to } = this;
    const { reason, actor, comment, encodedCause, node } = this;
    const cause = encodedCause === '' ? undefined : Cause.decode(Buffer.from(encodedCause, 'latin1'));
    return {
      ...{ revision, timeMs, kind, key, namespace, service, id, incarnation, from, to },
      ...{ reason, actor, comment, cause, node },
    };
  }
}

/** The newest of the entries that were dropped. */
interface Dropped {
  revision: number;
  number: number;
}

/** All entries, those of one service, or those of one instance, member, or record of a service. */
interface Chain {
  oldest: Place | undefined;
  newest: Place | undefined;
  size: number;
  readonly dropped: Dropped;
  /** The entries that were dropped by those chains of this service that have none left. */
  readonly gone: Dropped;
}

/**
 * The newest transitions, in order. Those of one instance are found without a look at the others. When a bound is reached the oldest
 * is dropped: of the instance, of the service, or of all.
 */
export class Ring {
  readonly #all: Chain = newChain();
  readonly #chains = new Map<string, Chain>();
  readonly #services = new Map<string, Chain>();
  /** The newest revision of the entries that were dropped for the bound of all. */
  #fullUpTo = 0;
  #newestNumber = 0;
  #clearedNumber = 0;

  constructor(private readonly bounds: RingBounds) {}

  get size(): number {
    return this.#all.size;
  }

  /** The newest revision of the entries that were dropped for the bound of all. */
  get droppedUpTo(): number {
    return this.#fullUpTo;
  }

  /** The number of the newest entry that ever was; 0 if there was none. Numbers grow by one. */
  get newestNumber(): number {
    return this.#newestNumber;
  }

  /** Adds an entry that is newer than all others. */
  add(entry: Entry): void {
    const { all, ofInstance, ofService } = this.bounds;
    const place = new Place(entry, ++this.#newestNumber);
    const { chain, service } = this.#chainsOf(place);
    link(this.#all, place, 'before', 'after');
    link(chain, place, 'beforeOfChain', 'afterOfChain');
    if (service) link(service, place, 'beforeOfService', 'afterOfService');
    if (service && service.size > ofService) this.#drop(service.oldest!);
    if (chain.size > ofInstance) this.#drop(chain.oldest!);
    if (this.#all.size <= all) return;
    this.#fullUpTo = Math.max(this.#fullUpTo, this.#all.oldest!.revision);
    this.#drop(this.#all.oldest!);
  }

  /** Adds an entry that is older than all others, if no bound is reached. Otherwise it counts as dropped. */
  addOlder(entry: Entry): void {
    const { all, ofInstance, ofService } = this.bounds;
    const place = new Place(entry, (this.#all.oldest?.number ?? this.#newestNumber + 1) - 1);
    if (this.#all.size >= all) {
      this.#fullUpTo = Math.max(this.#fullUpTo, place.revision);
      return;
    }
    const { chain, service } = this.#chainsOf(place);
    if (chain.size >= ofInstance || (service && service.size >= ofService)) {
      for (const one of [this.#all, chain, service]) if (one) note(one.dropped, place);
      this.#forgetEmpty(place);
      return;
    }
    linkOldest(this.#all, place, 'before', 'after');
    linkOldest(chain, place, 'beforeOfChain', 'afterOfChain');
    if (service) linkOldest(service, place, 'beforeOfService', 'afterOfService');
  }

  /** The entries of one instance, and of the protection and the checks of its service, newest first. */
  ofInstance(namespace: string, service: string, id: string): Entry[] {
    return chainsAbout(namespace, service, id)
      .flatMap((key) => [...this.#ofChain(key)])
      .sort((a, b) => b.revision - a.revision);
  }

  /** The newest revision of the entries of one instance that may have been dropped; 0 if all are there. */
  droppedOf(namespace: string, service: string, id: string): number {
    const dropped = chainsAbout(namespace, service, id).map((key) => this.#chains.get(key)?.dropped.revision ?? 0);
    const gone = this.#services.get(`${namespace}/${service}`)?.gone;
    return Math.max(...dropped, gone?.revision ?? 0, this.#fullUpTo);
  }

  /**
   * The number of the newest dropped entry among all, among those of a service, or of an instance. Who has read up to there
   * has missed none.
   */
  droppedNumber({ namespace, service, id }: Pick<Entry, 'namespace' | 'service' | 'id'>): number {
    const ofService = this.#services.get(`${namespace}/${service}`);
    // Of a service without entries everything was dropped for the bound of all.
    let dropped = (ofService ?? this.#all).dropped.number;
    if (ofService && id !== '') {
      const numbers = chainsAbout(namespace, service, id).map((key) => this.#chains.get(key)?.dropped.number ?? 0);
      dropped = Math.max(...numbers, ofService.gone.number);
    }
    return Math.max(dropped, this.#clearedNumber);
  }

  /** The entries of one service, newest first. */
  *ofService(namespace: string, service: string): Generator<Entry> {
    let place = this.#services.get(`${namespace}/${service}`)?.newest;
    for (; place; place = place.beforeOfService) yield place.entry;
  }

  /** All entries, newest first. */
  *newest(): Generator<Entry> {
    for (let place = this.#all.newest; place; place = place.before) yield place.entry;
  }

  /** The entries behind a number, oldest first. */
  *after(number: number): Generator<{ readonly number: number; readonly entry: Entry }> {
    let place = this.#all.newest;
    if (!place || place.number <= number) return;
    while (place.before && place.before.number > number) place = place.before;
    for (let next: Place | undefined = place; next; next = next.after) yield next;
  }

  clear(): void {
    Object.assign(this.#all, newChain());
    this.#chains.clear();
    this.#services.clear();
    this.#fullUpTo = 0;
    this.#clearedNumber = this.#newestNumber;
  }

  *#ofChain(key: string): Generator<Entry> {
    for (let place = this.#chains.get(key)?.newest; place; place = place.beforeOfChain) yield place.entry;
  }

  #chainsOf(place: Place): { readonly chain: Chain; readonly service: Chain | undefined } {
    const service = place.service === '' ? undefined : chainAt(this.#services, serviceOf(place));
    return { chain: chainAt(this.#chains, chainOf(place)), service };
  }

  #drop(place: Place): void {
    const { chain, service } = this.#chainsOf(place);
    unlink(this.#all, place, 'before', 'after');
    unlink(chain, place, 'beforeOfChain', 'afterOfChain');
    if (service) unlink(service, place, 'beforeOfService', 'afterOfService');
    for (const one of [this.#all, chain, service]) if (one) note(one.dropped, place);
    this.#forgetEmpty(place);
  }

  #forgetEmpty(place: Place): void {
    const { chain, service } = this.#chainsOf(place);
    if (chain.size === 0) {
      this.#chains.delete(chainOf(place));
      if (service) note(service.gone, chain.dropped);
    }
    if (service?.size === 0) this.#services.delete(serviceOf(place));
  }
}

function note(dropped: Dropped, { revision, number }: Dropped): void {
  dropped.revision = Math.max(dropped.revision, revision);
  dropped.number = Math.max(dropped.number, number);
}

type Before = 'before' | 'beforeOfChain' | 'beforeOfService';
type After = 'after' | 'afterOfChain' | 'afterOfService';

function link(chain: Chain, place: Place, before: Before, after: After): void {
  place[before] = chain.newest;
  if (chain.newest) chain.newest[after] = place;
  else chain.oldest = place;
  chain.newest = place;
  chain.size++;
}

function linkOldest(chain: Chain, place: Place, before: Before, after: After): void {
  place[after] = chain.oldest;
  if (chain.oldest) chain.oldest[before] = place;
  else chain.newest = place;
  chain.oldest = place;
  chain.size++;
}

function unlink(chain: Chain, place: Place, before: Before, after: After): void {
  const [older, newer] = [place[before], place[after]];
  if (older) older[after] = newer;
  else chain.oldest = newer;
  if (newer) newer[before] = older;
  else chain.newest = older;
  chain.size--;
}

const newChain = (): Chain => ({
  ...{ oldest: undefined, newest: undefined, size: 0 },
  dropped: { revision: 0, number: 0 },
  gone: { revision: 0, number: 0 },
});

function chainAt(chains: Map<string, Chain>, key: string): Chain {
  let chain = chains.get(key);
  if (!chain) chains.set(key, (chain = newChain()));
  return chain;
}

/** The key of the chain of an entry: that of its instance, which the catalog has anyway, of the record of its service, or its node. */
const chainOf = ({ key, namespace, service, id, node }: Omit<Entry, 'cause'>): string => {
  if (service === '') return node;
  if (id === '') return key;
  return key.startsWith(INSTANCES) ? key : instanceKey(namespace, service, id);
};
/** The keys of the chains whose entries are about an instance. */
const chainsAbout = (namespace: string, service: string, id: string): readonly string[] => [
  instanceKey(namespace, service, id),
  protectionKey(namespace, service),
  serviceChecksKey(namespace, service),
];
const serviceOf = ({ namespace, service }: Pick<Entry, 'namespace' | 'service'>): string => `${namespace}/${service}`;
