import { assert } from '../base/assert.js';
import { LinkedList, type Node } from '../base/linked-list.js';
import type { Item } from '../model/item.js';

/**
 * The items of one scope (a service, a config group), by name and by recency.
 *
 * The order by recency makes a watch a cursor: the items that changed after a revision are found by walking back from the
 * end.
 */
export class Scope<T extends Item> {
  readonly items = new Map<string, Node<T>>();
  readonly order = new LinkedList<T>();
  /** The newest visible change. */
  revision = 0n;
  /** The number of items that exist; the others are tombstones. */
  liveCount = 0;
  /** The items of other kinds that affect this scope as a whole, by the name of their kind. */
  readonly joined = new Map<string, Item>();
  /** A new object after every visible change. Results derived from the scope are cached on it in a WeakMap. */
  view: ScopeView<T> = { scope: this };
  readonly listeners = new Set<() => void>();

  constructor(
    readonly namespace: string,
    readonly name: string,
  ) {}

  /** The items that exist, in no particular order. */
  *live(): Generator<T> {
    for (const { value } of this.items.values()) if (value.removedAtMs === undefined) yield value;
  }

  /** Returns true if an item that affects the scope as a whole changed visibly after `cursor`. */
  isMarkedSince(cursor: bigint): boolean {
    for (const { revision } of this.joined.values()) if (revision > cursor) return true;
    return false;
  }

  /** The items that changed visibly after `cursor`, oldest change first. */
  since(cursor: bigint): T[] {
    const changed: T[] = [];
    for (let node = this.order.last; node && node.value.revision > cursor; node = node.prev) changed.push(node.value);
    return changed.reverse();
  }
}

/** Stands for the state of a scope between two visible changes. */
export interface ScopeView<T extends Item> {
  readonly scope: Scope<T>;
}

/** The scopes of one namespace, by name and by recency. */
export class Namespace<T extends Item> {
  readonly scopes = new Map<string, Node<Scope<T>>>();
  readonly order = new LinkedList<Scope<T>>();
  readonly listeners = new Set<() => void>();
  /** The first known spelling of each name, by the name in lower case. */
  readonly #spellings = new Map<string, string>();

  /** Notes that a scope exists. */
  spelled(name: string): void {
    const lower = name.toLowerCase();
    if (!this.#spellings.has(lower)) this.#spellings.set(lower, name);
  }

  /** Notes that a scope no longer exists. */
  unspelled(name: string): void {
    const lower = name.toLowerCase();
    if (this.#spellings.get(lower) === name) this.#spellings.delete(lower);
  }

  /** A scope whose name differs from `name` at most in case: the first known of several, which is enough for a hint. */
  spelledLike(name: string): Scope<T> | undefined {
    const known = this.#spellings.get(name.toLowerCase());
    return known === undefined ? undefined : this.scopes.get(known)?.value;
  }

  /** The scopes that changed visibly after `cursor`. */
  *since(cursor: bigint): Generator<Scope<T>> {
    for (let node = this.order.last; node && node.value.revision > cursor; node = node.prev) yield node.value;
  }
}

/** The item at a key before and after a change. `undefined` if there was none before, or is none after it. */
export interface ItemChange<T extends Item> {
  readonly before: T | undefined;
  readonly after: T | undefined;
}

/** All items of one kind. Scopes, and the items in each scope, are in the order of their last visible changes. */
export class Collection<T extends Item> {
  readonly #namespaces = new Map<string, Namespace<T>>();
  readonly #changed = new Set<Scope<T>>();
  #liveCount = 0;
  #itemCount = 0;
  #bytes = 0;

  /** The size of all records, tombstones included. */
  get bytes(): number {
    return this.#bytes;
  }

  /** The number of items that exist. */
  get liveCount(): number {
    return this.#liveCount;
  }

  /** The number of tombstones. */
  get tombstoneCount(): number {
    return this.#itemCount - this.#liveCount;
  }

  get(namespace: string, scope: string, name: string): T | undefined {
    return this.#namespaces.get(namespace)?.scopes.get(scope)?.value.items.get(name)?.value;
  }

  scope(namespace: string, scope: string): Scope<T> | undefined {
    return this.#namespaces.get(namespace)?.scopes.get(scope)?.value;
  }

  namespace(name: string): Namespace<T> | undefined {
    return this.#namespaces.get(name);
  }

  namespaces(): ReadonlyMap<string, Namespace<T>> {
    return this.#namespaces;
  }

  *all(): Generator<T> {
    for (const namespace of this.#namespaces.values())
      for (const { value: scope } of namespace.scopes.values())
        for (const { value } of scope.items.values()) yield value;
  }

  /** The items that exist. */
  *live(): Generator<T> {
    for (const item of this.all()) if (item.removedAtMs === undefined) yield item;
  }

  /** The tombstones. */
  *tombstones(): Generator<T> {
    for (const item of this.all()) if (item.removedAtMs !== undefined) yield item;
  }

  /** Puts an item in. Its revision must not be older than that of any earlier visible change. */
  put(item: T): ItemChange<T> {
    const scope = this.#scopeOf(item);
    const place = scope.items.get(item.name);
    const before = place?.value;
    this.#count(scope, before, item);
    if (place && before && before.revision === item.revision) {
      place.value = item; // after a touch the item keeps its place
      return { before, after: item };
    }
    assert(item.revision > (before?.revision ?? 0n), `revision of ${item.key} goes back`);
    if (place) {
      place.value = item;
      scope.order.moveToEnd(place);
    } else {
      scope.items.set(item.name, scope.order.push(item));
    }
    this.#markChanged(scope, item.revision);
    return { before, after: item };
  }

  /** Takes an item out. This is no visible change: only a tombstone may be taken out, or everything. */
  evict(item: T): ItemChange<T> {
    const namespace = this.#namespaces.get(item.namespace);
    const scope = namespace?.scopes.get(item.scope);
    const place = scope?.value.items.get(item.name);
    if (!namespace || !scope || !place) return { before: undefined, after: undefined };
    this.#count(scope.value, place.value, undefined);
    scope.value.items.delete(item.name);
    scope.value.order.remove(place);
    if (scope.value.items.size === 0) this.#dropIfUnused(namespace, scope);
    return { before: place.value, after: undefined };
  }

  /**
   * Attaches an item of another kind to the scope that it affects; `undefined` detaches it. This is no visible change;
   * see `markChanged`.
   */
  attach(namespace: string, name: string, kind: string, item: Item | undefined): void {
    const { value: scope } = this.#scopeNode(namespace, name);
    if (item) scope.joined.set(kind, item);
    else if (scope.joined.delete(kind) || scope.items.size === 0) this.#dropScopeIfUnused(namespace, name);
  }

  /** Marks a visible change of a scope as a whole. Its revision must not be older than that of any earlier change. */
  markChanged(namespace: string, name: string, revision: bigint): void {
    this.#markChanged(this.#scopeNode(namespace, name).value, revision);
  }

  /** Calls `listener` after a visible change of a scope, which need not exist yet. Returns a function that stops it. */
  listenToScope(namespace: string, name: string, listener: () => void): () => void {
    return this.#listen(
      () => this.#scopeNode(namespace, name).value.listeners,
      listener,
      () => this.#dropScopeIfUnused(namespace, name),
    );
  }

  /** Calls `listener` after a visible change anywhere in a namespace. Returns a function that stops it. */
  listenToNamespace(name: string, listener: () => void): () => void {
    return this.#listen(
      () => this.#namespaceOf(name).listeners,
      listener,
      () => this.#dropNamespaceIfUnused(name),
    );
  }

  /** Calls the listeners of every scope that changed visibly since the last call. */
  notify(): void {
    const namespaces = new Set<string>();
    for (const scope of this.#changed) {
      namespaces.add(scope.namespace);
      for (const listener of scope.listeners) listener();
    }
    this.#changed.clear();
    for (const name of namespaces) for (const listener of this.#namespaces.get(name)?.listeners ?? []) listener();
  }

  #listen(listeners: () => Set<() => void>, listener: () => void, stopped: () => void): () => void {
    const set = listeners();
    set.add(listener);
    return () => {
      set.delete(listener);
      stopped();
    };
  }

  #dropScopeIfUnused(namespace: string, name: string): void {
    const space = this.#namespaces.get(namespace);
    const scope = space?.scopes.get(name);
    if (space && scope) this.#dropIfUnused(space, scope);
  }

  #dropIfUnused(namespace: Namespace<T>, scope: Node<Scope<T>>): void {
    const { items, listeners, joined } = scope.value;
    if (items.size > 0 || listeners.size > 0 || joined.size > 0) return;
    namespace.scopes.delete(scope.value.name);
    namespace.unspelled(scope.value.name);
    namespace.order.remove(scope);
    this.#dropNamespaceIfUnused(scope.value.namespace);
  }

  #dropNamespaceIfUnused(name: string): void {
    const namespace = this.#namespaces.get(name);
    if (namespace && namespace.scopes.size === 0 && namespace.listeners.size === 0) this.#namespaces.delete(name);
  }

  #scopeOf(item: T): Scope<T> {
    return this.#scopeNode(item.namespace, item.scope).value;
  }

  #scopeNode(namespaceName: string, name: string): Node<Scope<T>> {
    const namespace = this.#namespaceOf(namespaceName);
    let node = namespace.scopes.get(name);
    if (!node) {
      // A scope without a change yet belongs at the old end of the order.
      node = namespace.order.unshift(new Scope<T>(namespaceName, name));
      namespace.scopes.set(name, node);
      namespace.spelled(name);
    }
    return node;
  }

  #namespaceOf(name: string): Namespace<T> {
    let namespace = this.#namespaces.get(name);
    if (!namespace) this.#namespaces.set(name, (namespace = new Namespace<T>()));
    return namespace;
  }

  #count(scope: Scope<T>, before: T | undefined, after: T | undefined): void {
    const live = (item: T | undefined): number => (item && item.removedAtMs === undefined ? 1 : 0);
    const difference = live(after) - live(before);
    scope.liveCount += difference;
    this.#liveCount += difference;
    this.#itemCount += (after ? 1 : 0) - (before ? 1 : 0);
    this.#bytes += (after?.bytes ?? 0) - (before?.bytes ?? 0);
  }

  /** Marks a visible change of a scope. */
  #markChanged(scope: Scope<T>, revision: bigint): void {
    const namespace = this.#namespaceOf(scope.namespace);
    scope.revision = revision;
    scope.view = { scope };
    namespace.order.moveToEnd(namespace.scopes.get(scope.name)!);
    this.#changed.add(scope);
  }
}
