import type { Rights } from '../../access/rights.js';
import type { Entry } from '../../domain/history/ring.js';
import type { Transition } from '../../gen/rollcall/v1/transition.js';
import { withoutNames } from '../../model/actor.js';
import { INSTANCE_ID, SERVICE } from '../../model/names.js';
import { toTimestamp } from '../../model/time.js';
import type { Validator } from '../call/validator.js';

/** The part of the registry that transitions are asked for. Empty: all of it. */
export interface TransitionScope {
  readonly namespace: string;
  readonly service: string;
  readonly id: string;
}

/** Validates the scope of a request for transitions. */
export function validateScope(validator: Validator, { namespace, service, id }: TransitionScope): void {
  if (namespace !== '') validator.namespace(namespace);
  if (service !== '') validator.name('service', service, SERVICE);
  if (id !== '') validator.name('id', id, INSTANCE_ID);
  if (service !== '' && namespace === '') validator.refuse('namespace', 'is required with service');
  if (id !== '' && service === '') validator.refuse('service', 'is required with id');
}

/** The part of a transition that a caller may see; `undefined` if it may see nothing of it. */
export function shownTo(rights: Rights, transition: Transition): Transition | undefined {
  const { namespace, service } = transition;
  if (service === '') return rights.everywhere('operate') ? transition : undefined;
  if (!rights.service('read', namespace, service)) return undefined;
  return rights.service('operate', namespace, service)
    ? transition
    : { ...transition, actor: withoutNames(transition.actor) };
}

/** An entry of a ring as a message. */
export function toTransition(entry: Entry): Transition {
  const { kind, namespace, service, id, incarnation, from, to, reason, actor, comment, cause, node } = entry;
  return {
    ...{ kind, namespace, service, id, incarnation, from, to, reason, actor, comment, cause, node },
    revision: BigInt(entry.revision),
    time: entry.timeMs === 0 ? undefined : toTimestamp(entry.timeMs),
  };
}
