import type { Action } from './actions.js';
import { Pattern } from './patterns.js';

/** Actions that are allowed on some services and some configs of some namespaces. */
export interface Grant {
  readonly actions: ReadonlySet<Action>;
  readonly namespaces: readonly Pattern[];
  readonly services: readonly Pattern[];
  /** Each config is named "group/key". */
  readonly configs: readonly Pattern[];
}

const has = (patterns: readonly Pattern[], name: string): boolean => {
  for (const pattern of patterns) if (pattern.has(name)) return true;
  return false;
};
const hasAll = (patterns: readonly Pattern[], beginning: string): boolean =>
  patterns.some((pattern) => pattern.hasAll(beginning));

/**
 * The rights of a caller: the union of some grants. Nothing takes a right away. A question about several names, such as all
 * services of a namespace, is answered by one grant: it includes those that are made later.
 */
export class Rights {
  constructor(readonly grants: readonly Grant[]) {}

  /** True if no action is allowed. */
  get isEmpty(): boolean {
    return this.grants.length === 0;
  }

  /** Returns true if the action is allowed on a service. */
  service(action: Action, namespace: string, service: string): boolean {
    for (const grant of this.grants)
      if (allows(grant, action) && has(grant.namespaces, namespace) && has(grant.services, service)) return true;
    return false;
  }

  /** Returns true if the action is allowed on all services of a namespace. */
  services(action: Action, namespace: string): boolean {
    return this.grants.some(
      (grant) => allows(grant, action) && has(grant.namespaces, namespace) && hasAll(grant.services, ''),
    );
  }

  /** Returns true if the action is allowed on a config. */
  config(action: Action, namespace: string, group: string, key: string): boolean {
    const name = `${group}/${key}`;
    for (const grant of this.grants)
      if (allows(grant, action) && has(grant.namespaces, namespace) && has(grant.configs, name)) return true;
    return false;
  }

  /** Returns true if the action is allowed on all configs of a namespace whose name begins so; "" for all of them. */
  configs(action: Action, namespace: string, beginning: string): boolean {
    return this.grants.some(
      (grant) => allows(grant, action) && has(grant.namespaces, namespace) && hasAll(grant.configs, beginning),
    );
  }

  /** Returns true if the action is allowed on everything: on all namespaces and services. */
  everywhere(action: Action): boolean {
    return this.grants.some(
      (grant) => allows(grant, action) && hasAll(grant.namespaces, '') && hasAll(grant.services, ''),
    );
  }
}

const allows = ({ actions }: Grant, action: Action): boolean => actions.has(action) || actions.has('admin');

const ALL = [new Pattern('*')];

/** All actions on everything. */
export const ALL_RIGHTS = new Rights([
  { actions: new Set<Action>(['admin']), namespaces: ALL, services: ALL, configs: ALL },
]);

/** No action. */
export const NO_RIGHTS = new Rights([]);
