import type { Action } from '../../access/actions.js';
import type { Rights } from '../../access/rights.js';
import { RollcallError } from '../../model/errors.js';
import { type Call, notesOf } from './call.js';

/** The names in a refusal: the object that the action was for. */
type Names = Readonly<Record<string, string>>;

/** The refused objects of one call that its event names. */
const REFUSED_NAMED_MAX = 20;

/**
 * Asks whether the caller may do the action of its method with some object, by the rights of this moment. Each question that
 * throws is a demand: NOT_ALLOWED for a caller with a credential, CREDENTIAL_REQUIRED for one without. Every question throws
 * UNAUTHENTICATED if the credential counts no longer.
 */
export class May {
  constructor(private readonly call: Call) {}

  /** The method must be allowed for a service. `id`: the instance of it that the call is about. */
  service(namespace: string, service: string, id = ''): void {
    this.#note(`${namespace}/${service}${id === '' ? '' : `/${id}`}`);
    if (!this.hasService(namespace, service)) throw this.#refusal({ namespace, service });
  }

  /** An action beside that of the method must be allowed for a service. */
  also(action: Action, namespace: string, service: string): void {
    if (!this.hasService(namespace, service, action)) throw this.#refusal({ namespace, service }, action);
  }

  /** The method must be allowed for all services of a namespace, also for those that are made later. */
  allServices(namespace: string): void {
    this.#note(`${namespace}/*`);
    if (!this.rights.services(this.#action, namespace)) throw this.#refusal({ namespace, service: '*' });
  }

  /** The method must be allowed for a config. */
  config(namespace: string, group: string, key: string): void {
    this.#note(`${namespace}/${group}/${key}`);
    if (!this.hasConfig(namespace, group, key)) throw this.#refusal({ namespace, config: `${group}/${key}` });
  }

  /** An action beside that of the method must be allowed for a config. */
  alsoConfig(action: Action, namespace: string, group: string, key: string): void {
    if (!this.rights.config(action, namespace, group, key))
      throw this.#refusal({ namespace, config: `${group}/${key}` }, action);
  }

  /** The method must be allowed for all configs of a namespace whose "group/key" begins so, also for those that are made later. */
  allConfigs(namespace: string, beginning: string): void {
    if (!this.rights.configs(this.#action, namespace, beginning))
      throw this.#refusal({ namespace, config: `${beginning}*` });
  }

  /** The method must be allowed everywhere. `object` is the thing that it is for, if it has a name. */
  everywhere(object?: string): void {
    if (object !== undefined) this.#note(object);
    if (!this.hasEverywhere(this.#action)) throw this.#refusal({ namespace: '*', service: '*' });
  }

  /** The caller must have any right. */
  anything(): void {
    if (this.rights.isEmpty) throw this.#refusal({});
  }

  /** Returns true if the method is allowed for a service. */
  hasService(namespace: string, service: string, action = this.#action): boolean {
    return this.rights.service(action, namespace, service);
  }

  /** Returns true if the method is allowed for a config. */
  hasConfig(namespace: string, group: string, key: string): boolean {
    return this.rights.config(this.#action, namespace, group, key);
  }

  /** Returns true if an action is allowed everywhere. */
  hasEverywhere(action: Action): boolean {
    return this.rights.everywhere(action);
  }

  /** Counts the items of a call beside the first one, which the call itself counts. Throws RATE_LIMITED. */
  takeItems(count: number): void {
    if (count > 1) this.call.principal.quota()?.takeCall(count - 1);
  }

  /** Counts items of a heartbeat. Throws RATE_LIMITED. */
  takeBeats(count: number): void {
    this.call.principal.quota()?.takeBeats(count);
  }

  /** Notes the services of items of the request that are not allowed, while the others are. */
  noteRefused(items: Iterable<{ readonly namespace: string; readonly service: string }>): void {
    for (const { namespace, service } of items) {
      const { refused } = notesOf(this.call);
      if (refused.size < REFUSED_NAMED_MAX) refused.add(`${namespace}/${service}`);
    }
  }

  /** Throws CREDENTIAL_REQUIRED if the caller showed no credential. */
  known(): void {
    if (this.call.principal.kind === 'anonymous') throw this.#refusal({});
  }

  /** The rights of the caller. */
  get rights(): Rights {
    return this.call.principal.rights();
  }

  /** Notes an object of a call that changes something, for the audit. */
  #note(object: string): void {
    if (!this.call.method.readOnly) notesOf(this.call).resources.push(object);
  }

  get #action(): Action {
    return this.call.method.permission as Action; // a rule asks only for a method that has an action
  }

  #refusal(names: Names, action: string = this.call.method.permission): RollcallError {
    const { principal } = this.call;
    const object = Object.entries(names)
      .map(([kind, name]) => `${kind} ${JSON.stringify(name)}`)
      .join(', ');
    const right = `the right "${action}"${object === '' ? '' : ` on ${object}`}`;
    const wanted = action === 'any' ? 'any right' : right;
    const metadata = { principal: principal.name, action, ...names };
    return principal.kind === 'anonymous'
      ? new RollcallError(
          'CREDENTIAL_REQUIRED',
          `the call needs ${wanted}, which callers without a credential do not have`,
          { metadata },
        )
      : new RollcallError('NOT_ALLOWED', `${principal.name} does not have ${wanted}`, { metadata });
  }
}
