import type { Action } from '../../access/actions.js';

/** The callers that a service is for: everybody, operators, or the other members of the cluster. */
export type Audience = 'public' | 'admin' | 'peer';

/**
 * The action that a method is: its rule asks whether the caller may do it. `any`: the method is for every caller that the
 * server knows. `peer`: it is for members of the cluster, who prove it otherwise. `none`: the method is open to every caller,
 * such as a health check, and credentials are not looked at.
 */
export type Permission = Action | 'any' | 'peer' | 'none';

/** The shape of a method: one request and one response, one request and a stream, or a stream each way. */
export type MethodKind = 'UNARY' | 'SERVER_STREAM' | 'BIDI_STREAM';

/** Facts about one method of the contract. */
export interface MethodInfo {
  /** The path of the method on the wire, such as "/rollcall.v1.RegistryService/Discover". */
  readonly path: string;
  readonly kind: MethodKind;
  readonly audience: Audience;
  readonly permission: Permission;
  /** Returns true if the method has no side effects: its proto option `idempotency_level` says NO_SIDE_EFFECTS. */
  readonly readOnly: boolean;
}
