import { type ConfigItem, CONFIGS, readConfig, versionKey, versionsPrefix, writeConfig } from '../model/config.js';
import { outdatedVersions } from '../model/config-history.js';
import {
  type InstanceItem,
  INSTANCES,
  isIll,
  parseInstanceKey,
  readInstance,
  touched,
  underCheck,
  underOverride,
  underServiceChecks,
  writeInstance,
} from '../model/instance.js';
import {
  type CheckItem,
  CHECKS,
  checkTouched,
  readCheck,
  readServiceChecks,
  SERVICE_CHECKS as SERVICE_CHECKS_PREFIX,
  type ServiceChecksItem,
  serviceChecksTouched,
  writeCheck,
  writeServiceChecks,
} from '../model/check.js';
import type { Item } from '../model/item.js';
import { parseKey, parseServiceKey } from '../model/keys.js';
import { LIMITS } from '../model/limits.js';
import { type OverrideItem, OVERRIDES, overrideTouched, readOverride, writeOverride } from '../model/override.js';
import { type MemberItem, MEMBERS, readMember } from '../model/member.js';
import {
  type ProtectionItem,
  PROTECTIONS,
  protectionTouched,
  readProtection,
  underProtection,
  writeProtection,
} from '../model/protection.js';
import {
  EPOCH_KEY,
  type FactItem,
  HORIZON_KEY,
  MEMBERGEN_KEY,
  readEpoch,
  readHorizon,
  readMembergen,
} from '../model/store-facts.js';
import { DAY_MS } from '../model/time.js';
import type { Scope } from './collection.js';
import type { Join, Kind, Tables } from './kind.js';

/** Registered instances, and the tombstones of removed ones. */
export const INSTANCE: Kind<InstanceItem> = {
  name: 'instance',
  prefix: INSTANCES,
  deletion: 'COLLECTED',
  names: parseInstanceKey,
  read: readInstance,
  rewrite: (item, stamp) => writeInstance(touched(item, stamp)),
};

/** Current configs, with their content. A deleted config keeps its tombstone as long as versions are kept. */
export const CONFIG: Kind<ConfigItem> = {
  name: 'config',
  prefix: CONFIGS,
  deletion: 'COLLECTED',
  names: (key) => parseKey(CONFIGS, key),
  read: readConfig,
  rewrite: ({ config, history }, { writeId }) => writeConfig(writeId, config, history),
  // Days can only be counted by the wall clock. If it is wrong, a config that is published again begins at version 1.
  mayCollect: ({ removedAtMs }, _, wallMs) => removedAtMs! < wallMs - LIMITS.CONFIG_VERSION_DAYS.value * DAY_MS,
  belongings: ({ namespace, scope, name }) => versionsPrefix(namespace, scope, name),
  outdated: (item, wallMs) =>
    outdatedVersions(item, wallMs).map((version) => versionKey(item.namespace, item.scope, item.name, version)),
};

/** A record about one instance moves that instance. */
const aboutInstance = <T extends Item>(apply: Join<T, InstanceItem>['apply']): Join<T, InstanceItem> => ({
  target: INSTANCE,
  level: 'ITEM',
  sourceOf: (instance) => instance,
  *targetsOf({ namespace, scope, name }, instances) {
    const item = instances.get(namespace, scope, name);
    if (item && item.removedAtMs === undefined) yield item;
  },
  apply,
});

/** The override of each instance that has one. It is collected after it has ended, and after the instance. */
export const OVERRIDE: Kind<OverrideItem> = {
  name: 'override',
  prefix: OVERRIDES,
  deletion: 'COLLECTED',
  names: (key) => parseKey(OVERRIDES, key),
  read: readOverride,
  rewrite: (item, stamp) => writeOverride(overrideTouched(item, stamp)),
  mayCollect: (item, catalog) => hasNoInstance(item, catalog),
  join: aboutInstance<OverrideItem>(underOverride),
};

/** When the checks of a service are defined or end, its instances without checks of their own change visibly. */
const SERVICE_CHECKS_JOIN: Join<ServiceChecksItem, InstanceItem> = {
  target: INSTANCE,
  level: 'ITEM',
  sourceOf: ({ namespace, scope }) => ({ namespace, scope, name: '' }),
  *targetsOf({ namespace, scope }, instances) {
    for (const item of instances.scope(namespace, scope)?.live() ?? [])
      if (item.record.instance!.checks.length === 0) yield item;
  },
  apply: underServiceChecks,
};

/** The checks of each service for which an operator has defined any. They are collected as protections are. */
export const SERVICE_CHECKS: Kind<ServiceChecksItem> = {
  name: 'service checks',
  prefix: SERVICE_CHECKS_PREFIX,
  deletion: 'COLLECTED',
  names: (key) => parseServiceKey(SERVICE_CHECKS_PREFIX, key),
  read: readServiceChecks,
  rewrite: (item, stamp) => writeServiceChecks(serviceChecksTouched(item, stamp)),
  mayCollect: ({ namespace, scope }, catalog) => isForgotten(catalog, namespace, scope),
  join: SERVICE_CHECKS_JOIN,
};

/** The verdict on the checks of each instance that has one. It is collected after the instance. */
export const CHECK: Kind<CheckItem> = {
  name: 'check',
  prefix: CHECKS,
  deletion: 'COLLECTED',
  names: (key) => parseKey(CHECKS, key),
  read: readCheck,
  rewrite: (item, stamp) => writeCheck(checkTouched(item, stamp)),
  mayCollect: (item, catalog) => hasNoInstance(item, catalog),
  join: aboutInstance<CheckItem>(underCheck),
};

/** When the protection of a service begins or ends, the ill instances of the service change visibly. */
const PROTECTION_JOIN: Join<ProtectionItem, InstanceItem> = {
  target: INSTANCE,
  level: 'SCOPE',
  sourceOf: ({ namespace, scope }) => ({ namespace, scope, name: '' }),
  *targetsOf({ namespace, scope }, instances) {
    for (const item of instances.scope(namespace, scope)?.live() ?? []) if (isIll(item)) yield item;
  },
  apply: underProtection,
};

/** The protection of each service that was ever protected. It is collected after the last tombstone of the service. */
export const PROTECTION: Kind<ProtectionItem> = {
  name: 'protection',
  prefix: PROTECTIONS,
  deletion: 'COLLECTED',
  names: (key) => parseServiceKey(PROTECTIONS, key),
  read: readProtection,
  rewrite: (item, stamp) => writeProtection(protectionTouched(item, stamp)),
  mayCollect: ({ namespace, scope }, catalog) => isForgotten(catalog, namespace, scope),
  join: PROTECTION_JOIN,
};

/** Returns true if the instance that a record is about is gone, and its tombstone too. */
function hasNoInstance({ namespace, scope, name }: Item, catalog: Tables): boolean {
  return catalog.of(INSTANCE).get(namespace, scope, name) === undefined;
}

/** Returns true if the service has no instance any more, and no tombstone of one. */
function isForgotten(catalog: Tables, namespace: string, service: string): boolean {
  return (catalog.of(INSTANCE).scope(namespace, service)?.items.size ?? 0) === 0;
}

/** The protection of a service as it was recorded last, active or ended. `undefined` if it was never protected. */
export function recordedProtection(scope: Scope<InstanceItem> | undefined): ProtectionItem | undefined {
  return scope?.joined.get(PROTECTION.name) as ProtectionItem | undefined;
}

/** Live members. */
export const MEMBER: Kind<MemberItem> = {
  name: 'member',
  prefix: MEMBERS,
  deletion: 'LEASED',
  names: (key) => ({ namespace: '', scope: '', name: key.slice(MEMBERS.length) }),
  read: readMember,
  rewrite: () => {
    throw new Error('a member record is written only by the process of the member');
  },
};

const fact = <Fact>(name: string, key: string, read: Kind<FactItem<Fact>>['read']): Kind<FactItem<Fact>> => ({
  name,
  prefix: key,
  deletion: 'COLLECTED',
  names: () => ({ namespace: '', scope: '', name: '' }),
  read,
  rewrite: ({ value }) => value,
});

/** The name of the store's history. */
export const EPOCH = fact<string>('epoch', EPOCH_KEY, readEpoch);
/** The revision up to which tombstones have been deleted. */
export const HORIZON = fact<bigint>('horizon', HORIZON_KEY, readHorizon);
/** The revision of the last join. */
export const MEMBERGEN = fact<bigint>('membergen', MEMBERGEN_KEY, readMembergen);

/**
 * Every kind of watched record. Those that affect instances do so in this order: a verdict is about the checks that are defined,
 * and protection asks whether an override sets an instance aside, and whether its check failed. A key of no kind was written by a newer program, and is left alone.
 */
export const KINDS: readonly Kind[] = [
  ...[INSTANCE, CONFIG, OVERRIDE, SERVICE_CHECKS, CHECK, PROTECTION],
  ...[MEMBER, EPOCH, HORIZON, MEMBERGEN],
].map((kind) => kind as Kind<Item>);
