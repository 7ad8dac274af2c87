import { rendezvousScore } from '../../base/rendezvous.js';
import type { CounterBoard } from '../../base/telemetry.js';
import type { Catalog } from '../../catalog/catalog.js';
import type { Scope, ScopeView } from '../../catalog/collection.js';
import { recordedProtection } from '../../catalog/kinds.js';
import { page, type Page } from '../../catalog/paging.js';
import { type Health, type Instance, RemovalReason } from '../../gen/rollcall/v1/instance.js';
import type { Protection } from '../../gen/rollcall/v1/protection.js';
import type { Subset } from '../../gen/rollcall/v1/registry_service.js';
import { RollcallError } from '../../model/errors.js';
import type { ConfigItem } from '../../model/config.js';
import type { InstanceItem } from '../../model/instance.js';
import type { Item } from '../../model/item.js';
import type { Collection } from '../../catalog/collection.js';
import { type Matcher } from './filter.js';
import { COUNTERS } from './instruments.js';

/** The instances of a service that pass a filter. It is the same object as long as the service does not change. */
export interface Selected {
  /** Ordered by id. */
  readonly instances: readonly Instance[];
  readonly hiddenCount: number;
  /** `undefined` if the service is not protected. */
  readonly protection: Protection | undefined;
}

/** The instances of a service, counted by health. */
export interface ServiceCounts {
  readonly service: string;
  readonly byHealth: ReadonlyMap<Health, number>;
  readonly revision: bigint;
  readonly protection: Protection | undefined;
}

/** A protected service. */
export interface ProtectedService {
  readonly namespace: string;
  readonly service: string;
  readonly protection: Protection;
}

/** The contents of a namespace, counted. */
export interface NamespaceCounts {
  readonly namespace: string;
  readonly services: number;
  readonly instances: number;
  readonly configs: number;
}

/** The part of the contents that a caller may see. */
export interface Visible {
  /** Returns true if every service of a namespace may be seen. */
  allServices(namespace: string): boolean;
  service(namespace: string, service: string): boolean;
  /** Returns true if every config of a namespace may be seen. */
  allConfigs(namespace: string): boolean;
  config(namespace: string, group: string, key: string): boolean;
}

/** The most filters whose result is cached for one state of a service. */
const CACHED_FILTERS = 16;
const NOTHING: Selected = { instances: [], hiddenCount: 0, protection: undefined };

/** Answers reads of the registry from memory. */
export class Discovery {
  readonly #selected = new WeakMap<ScopeView<InstanceItem>, Map<string, Selected>>();

  constructor(
    private readonly catalog: Catalog,
    private readonly counters: CounterBoard,
  ) {}

  /** The instances of a service that pass a filter. */
  discover(namespace: string, service: string, filter: Matcher, subset: Subset | undefined): Selected {
    this.counters.add(COUNTERS.discovers);
    const scope = this.catalog.instances.scope(namespace, service);
    if (!scope) return NOTHING;
    const selected = this.#select(scope, filter);
    return subset ? { ...selected, instances: pick(selected.instances, subset) } : selected;
  }

  /** `mayKnowWho`: the caller may know who removed an instance. */
  get(namespace: string, service: string, id: string, mayKnowWho: boolean): Instance {
    const item = this.catalog.instances.get(namespace, service, id);
    if (item && item.removedAtMs === undefined) return item.instance;
    const removal = item && removalOf(item, mayKnowWho);
    const why = removal ? `: it was removed at ${removal.time} (${removal.removal_reason})` : '';
    throw new RollcallError(
      'INSTANCE_NOT_FOUND',
      `${service}/${id} is not registered in namespace ${namespace}${why}`,
      {
        metadata: { namespace, service, id, ...removal },
      },
    );
  }

  /** The services of a namespace that the caller sees, by name. */
  services(namespace: string, size: number, after: string, sees: (service: string) => boolean): Page<ServiceCounts> {
    const live = liveScopes(this.catalog.instances, namespace).filter(({ name }) => name > after && sees(name));
    return page(
      live,
      size,
      ({ name }) => name,
      (scope) => counts(scope),
    );
  }

  /** The namespaces that hold anything that the caller sees, by name. Only that is counted. */
  namespaces(size: number, after: string, sees: Visible): Page<NamespaceCounts> {
    const { instances, configs } = this.catalog;
    const names = new Set([...instances.namespaces().keys(), ...configs.namespaces().keys()]);
    const all = [...names]
      .filter((name) => name > after)
      .map((namespace) => {
        const all = liveScopes<InstanceItem>(instances, namespace);
        const services = sees.allServices(namespace) ? all : all.filter(({ name }) => sees.service(namespace, name));
        const groups = liveScopes<ConfigItem>(configs, namespace);
        const seen = (group: Scope<ConfigItem>): number =>
          [...group.live()].filter(({ name }) => sees.config(namespace, group.name, name)).length;
        return {
          namespace,
          services: services.length,
          instances: sum(services),
          configs: sees.allConfigs(namespace) ? sum(groups) : groups.reduce((total, group) => total + seen(group), 0),
        };
      });
    const used = all.filter((counted) => counted.instances + counted.configs > 0);
    return page(
      used,
      size,
      ({ namespace }) => namespace,
      (counted) => counted,
    );
  }

  /** The number of namespaces that hold anything, and of services with an instance. */
  totals(): { namespaces: number; services: number } {
    const namespaces = new Set<string>();
    let services = 0;
    for (const [name] of this.catalog.instances.namespaces()) {
      const live = liveScopes(this.catalog.instances, name).length;
      services += live;
      if (live > 0) namespaces.add(name);
    }
    for (const [name] of this.catalog.configs.namespaces()) {
      if (liveScopes(this.catalog.configs, name).length > 0) namespaces.add(name);
    }
    return { namespaces: namespaces.size, services };
  }

  /** The protected services, by namespace and name: the first `max`, and the number of all. */
  protectedServices(max: number): { count: number; services: ProtectedService[] } {
    const active = [...this.catalog.protections.live()];
    active.sort((a, b) => (a.key < b.key ? -1 : 1));
    const services = active.slice(0, max).flatMap(({ namespace, scope: service }) => {
      const protection = protectionOf(this.catalog.instances.scope(namespace, service)!);
      return protection ? [{ namespace, service, protection }] : [];
    });
    return { count: active.length, services };
  }

  #select(scope: Scope<InstanceItem>, filter: Matcher): Selected {
    let cached = this.#selected.get(scope.view);
    if (!cached) this.#selected.set(scope.view, (cached = new Map<string, Selected>()));
    let selected = cached.get(filter.key);
    if (!selected) {
      selected = select(scope, filter);
      if (cached.size < CACHED_FILTERS) cached.set(filter.key, selected);
    }
    return selected;
  }
}

/** The instances of a scope that pass a filter, ordered by id. */
function select(scope: Scope<InstanceItem>, filter: Matcher): Selected {
  const instances: Instance[] = [];
  let hiddenCount = 0;
  for (const item of scope.live()) {
    if (!filter.matches(item.instance)) continue;
    if (filter.shows(item)) instances.push(item.instance);
    else hiddenCount++;
  }
  instances.sort((a, b) => (a.id < b.id ? -1 : 1));
  return { instances, hiddenCount, protection: protectionOf(scope) };
}

/** How an instance was removed, as long as its tombstone is kept. */
function removalOf(
  { removedAtMs, removalReason, revision, record }: InstanceItem,
  mayKnowWho: boolean,
): Record<string, string> {
  const { actor, comment } = record.tombstone!;
  const author = mayKnowWho ? actor?.subject : '';
  return {
    removal_reason: RemovalReason[removalReason!].replace('REMOVAL_REASON_', ''),
    time: new Date(removedAtMs!).toISOString(),
    revision: String(revision),
    incarnation: record.instance!.incarnation,
    ...(author && { author }),
    ...(comment && { comment }),
  };
}

/** The number of instances that match a filter but are hidden by their health. */
export function hiddenCount(scope: Scope<InstanceItem>, filter: Matcher): number {
  let hidden = 0;
  for (const item of scope.live()) if (filter.matches(item.instance) && !filter.shows(item)) hidden++;
  return hidden;
}

/** The protection of a service, as users see it. `undefined` if it is not protected. */
export function protectionOf(scope: Scope<InstanceItem>): Protection | undefined {
  const recorded = recordedProtection(scope);
  if (!recorded?.record.active) return undefined;
  const { revision, record } = recorded;
  let unhealthyCount = 0;
  let upCount = 0;
  for (const { expectsHeartbeats, isUp, shownByProtection } of scope.live()) {
    if (shownByProtection) unhealthyCount++;
    else if (expectsHeartbeats && isUp) upCount++;
  }
  const totalCount = upCount + unhealthyCount;
  return { revision, since: record.time, unhealthyCount, totalCount, beforeCount: record.before };
}

/** Picks a subset by rendezvous hashing: each caller gets a stable one, and callers spread evenly. */
function pick(instances: readonly Instance[], { size, key }: Subset): readonly Instance[] {
  if (instances.length <= size) return instances;
  const score = ({ id }: Instance): string => rendezvousScore(key, '\0', id);
  return instances
    .map((instance) => ({ instance, score: score(instance) }))
    .sort((a, b) => (a.score < b.score ? -1 : 1))
    .slice(0, size)
    .map(({ instance }) => instance)
    .sort((a, b) => (a.id < b.id ? -1 : 1));
}

function liveScopes<T extends Item>(collection: Collection<T>, namespace: string): Scope<T>[] {
  const scopes = [...(collection.namespace(namespace)?.scopes.values() ?? [])].map(({ value }) => value);
  return scopes.filter(({ liveCount }) => liveCount > 0);
}

const sum = (scopes: readonly { liveCount: number }[]): number =>
  scopes.reduce((total, { liveCount }) => total + liveCount, 0);

function counts(scope: Scope<InstanceItem>): ServiceCounts {
  const byHealth = new Map<Health, number>();
  for (const { instance } of scope.live()) byHealth.set(instance.health, (byHealth.get(instance.health) ?? 0) + 1);
  return { service: scope.name, byHealth, revision: scope.revision, protection: protectionOf(scope) };
}
