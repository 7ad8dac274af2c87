import { LinkedList, type Node } from '../../base/linked-list.js';
import type { Actor, Cause } from '../../gen/rollcall/v1/cause.js';
import type { Health, HealthReason } from '../../gen/rollcall/v1/instance.js';
import type { TransitionKind } from '../../gen/rollcall/v1/transition.js';

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
  /** Empty for a protection and for a member. */
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

/** The entries of one instance, protection or member, oldest first. */
interface Chain {
  readonly places: Place[];
  /** The newest revision of those that were dropped. */
  droppedUpTo: number;
}

/** The place of an entry in the ring. */
export interface Place {
  readonly entry: Entry;
  /** Grows with each entry. */
  readonly number: number;
  /** True once the entry was dropped. */
  isDropped: boolean;
  readonly chain: Chain;
  inAll: Node<Place>;
  inService: Node<Place> | undefined;
}

/**
 * The newest transitions, in order. Those of one instance are found without a look at the others. When a bound is reached the oldest
 * is dropped: of the instance, of the service, or of all.
 */
export class Ring {
  readonly #all = new LinkedList<Place>();
  readonly #services = new Map<string, LinkedList<Place>>();
  readonly #chains = new Map<string, Chain>();
  #droppedUpTo = 0;
  #nextNumber = 1;

  constructor(private readonly bounds: RingBounds) {}

  get size(): number {
    return this.#all.size;
  }

  /** The newest revision of the entries that were dropped for the bound of all. */
  get droppedUpTo(): number {
    return this.#droppedUpTo;
  }

  add(entry: Entry): void {
    const chainKey = chainOf(entry);
    let chain = this.#chains.get(chainKey);
    if (!chain) this.#chains.set(chainKey, (chain = { places: [], droppedUpTo: 0 }));
    const place: Place = {
      ...{ entry, chain, number: this.#nextNumber++, isDropped: false },
      ...{ inAll: undefined as never, inService: undefined },
    };
    place.inAll = this.#all.push(place);
    if (entry.service !== '') {
      const name = serviceOf(entry);
      let service = this.#services.get(name);
      if (!service) this.#services.set(name, (service = new LinkedList<Place>()));
      place.inService = service.push(place);
      if (service.size > this.bounds.ofService) this.#drop(service.first!.value);
    }
    chain.places.push(place);
    if (chain.places.length > this.bounds.ofInstance) this.#drop(chain.places[0]!);
    if (this.#all.size > this.bounds.all) {
      const oldest = this.#all.first!.value;
      this.#droppedUpTo = Math.max(this.#droppedUpTo, oldest.entry.revision);
      this.#drop(oldest);
    }
  }

  /** The entries of one instance and of the protection of its service, newest first. */
  ofInstance(namespace: string, service: string, id: string): Entry[] {
    const own = this.#chains.get(chainName(namespace, service, id))?.places ?? [];
    const protection = this.#chains.get(chainName(namespace, service, ''))?.places ?? [];
    return [...own, ...protection].map(({ entry }) => entry).sort((a, b) => b.revision - a.revision);
  }

  /** The newest revision of the entries of one instance that were dropped; 0 if all are there. */
  droppedOf(namespace: string, service: string, id: string): number {
    return Math.max(this.#chains.get(chainName(namespace, service, id))?.droppedUpTo ?? 0, this.#droppedUpTo);
  }

  /** The entries of one service, newest first. */
  *ofService(namespace: string, service: string): Generator<Entry> {
    yield* backwards(this.#services.get(`${namespace}/${service}`));
  }

  /** All entries, newest first. */
  *newest(): Generator<Entry> {
    yield* backwards(this.#all);
  }

  /** The number of the newest entry that ever was; 0 if there was none. */
  get newestNumber(): number {
    return this.#nextNumber - 1;
  }

  /** The number of the oldest entry that is there; that of the next one if there is none. */
  get oldestNumber(): number {
    return this.#all.first?.value.number ?? this.#nextNumber;
  }

  /** The first place behind a number. `from`, a place at or before it that was there a while ago, saves the search. */
  firstAfter(number: number, from: Place | undefined): Place | undefined {
    let node = from && !from.isDropped ? from.inAll : undefined;
    if (!node) {
      node = this.#all.last;
      while (node && node.value.number > number) node = node.prev;
      if (!node) return this.#all.first?.value;
    }
    while (node && node.value.number <= number) node = node.next;
    return node?.value;
  }

  /** The place behind another one. */
  next({ inAll }: Place): Place | undefined {
    return inAll.next?.value;
  }

  clear(): void {
    for (let node = this.#all.first; node; node = this.#all.first) this.#drop(node.value);
    this.#chains.clear();
    this.#droppedUpTo = 0;
  }

  #drop(place: Place): void {
    const { entry, chain, inAll, inService } = place;
    place.isDropped = true;
    this.#all.remove(inAll);
    if (inService) {
      const name = serviceOf(entry);
      const service = this.#services.get(name)!;
      service.remove(inService);
      if (service.size === 0) this.#services.delete(name);
    }
    chain.places.splice(chain.places.indexOf(place), 1); // the oldest of its chain, so that this ends at once
    chain.droppedUpTo = Math.max(chain.droppedUpTo, entry.revision);
    if (chain.places.length === 0) this.#chains.delete(chainOf(entry));
  }
}

function* backwards(list: LinkedList<Place> | undefined): Generator<Entry> {
  for (let node = list?.last; node; node = node.prev) yield node.value.entry;
}

const serviceOf = ({ namespace, service }: Entry): string => `${namespace}/${service}`;
const chainName = (namespace: string, service: string, id: string): string => `${namespace}/${service}/${id}`;
const chainOf = ({ namespace, service, id, node }: Entry): string =>
  service === '' ? node : chainName(namespace, service, id);
