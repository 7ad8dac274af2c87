import { type Actor, ActorKind } from '../gen/rollcall/v1/cause.js';
import type { Stamp } from './item.js';

/** Who asks for a write, and why, as a request claims. */
export interface Claim {
  readonly author: string;
  readonly comment: string;
}

/** Who asked for a write, and why, for display. */
export interface Signature extends Claim {
  /** The caller's credential; without one, the author that the request claims. */
  readonly author: string;
  /** The IP address that the call came from. */
  readonly address: string;
}

/** The signature of a call that says nothing. */
export const UNSIGNED: Signature = { author: '', comment: '', address: '' };

/** The actor of a write that a caller asked for. */
export function callerAs(kind: ActorKind, { author, address }: Signature, { node }: Stamp): Actor {
  return { kind, subject: author, address, node };
}

/** This server as an actor. */
export function serverActor({ node }: Stamp): Actor {
  return { kind: ActorKind.ACTOR_KIND_SERVER, subject: '', address: '', node };
}

/** An actor as callers see it who may not know who it was. */
export function withoutNames(actor: Actor | undefined): Actor | undefined {
  return actor && { ...actor, subject: '', address: '' };
}
