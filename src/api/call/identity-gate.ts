import type { Access } from '../../access/access.js';
import { EVERYBODY } from '../../access/principal.js';
import { RollcallError } from '../../model/errors.js';
import type { Call } from './call.js';
import type { Gate } from './gates.js';

/** Refuses a caller without a credential if such callers have no rights at all: its request need not be read. */
function assertSomeRight({ principal, method: { permission } }: Call): void {
  if (principal.kind !== 'anonymous' || !principal.rights().isEmpty) return;
  const text = `the call needs the right "${permission}", which callers without a credential do not have`;
  throw new RollcallError('CREDENTIAL_REQUIRED', text, { metadata: { principal: principal.name, action: permission } });
}

/**
 * Finds the caller of each call, and refuses credentials that do not count: such a call is not taken for one without a
 * credential. Without access control every caller may do everything.
 */
export function identityGate(access: Pick<Access, 'identify'> | undefined): Gate {
  return {
    name: 'identity',
    admit: (call) => {
      const { permission } = call.method;
      if (permission === 'none' || permission === 'peer') return undefined;
      const principal = access ? access.identify(call) : EVERYBODY;
      if (principal instanceof Promise) return principal.then((found) => void (call.principal = found));
      call.principal = principal;
      if (permission !== 'any') assertSomeRight(call);
      return undefined;
    },
  };
}
