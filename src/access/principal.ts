import type { Quota } from './quotas.js';
import { ALL_RIGHTS, NO_RIGHTS, type Rights } from './rights.js';

/** The way in which a caller proves its identity. */
export type PrincipalKind = 'anonymous' | 'token' | 'jwt' | 'certificate';

/**
 * The identity of a caller. It lives as long as its credential: its rights are those of the access file in force at the
 * moment of the question, so that open streams and cached identities follow every change.
 */
export interface Principal {
  /** The name that logs and the audit show, such as "token:pay". It never contains a secret. */
  readonly name: string;
  readonly kind: PrincipalKind;
  /** The rights at this moment. Throws UNAUTHENTICATED if the credential counts no longer. */
  rights(): Rights;
  /** Wall-clock milliseconds at which the credential ends; `undefined` if it has no end. */
  expiresMs(): number | undefined;
  /** The limits of the caller, and the part of them that it has used; `undefined` if it has none. */
  quota(): Quota | undefined;
}

/** The name of callers without a credential. */
export const ANONYMOUS = 'anonymous';

/** A caller without a credential, whose rights `rights` returns. */
export const anonymous = (rights: () => Rights, quota: Quota | undefined = undefined): Principal => ({
  name: ANONYMOUS,
  kind: 'anonymous',
  rights,
  expiresMs: () => undefined,
  quota: () => quota,
});

/** The caller of a call that was not identified yet: it may do nothing. */
export const UNIDENTIFIED: Principal = anonymous(() => NO_RIGHTS);

/** The caller of a server without access control: it may do everything. */
export const EVERYBODY: Principal = anonymous(() => ALL_RIGHTS);
