import type { Access } from '../../access/access.js';
import { EVERYBODY } from '../../access/principal.js';
import type { Gate } from './gates.js';
import { May } from './may.js';

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
      // Where callers without a credential have no rights at all, the request of one need not be read.
      if (principal.kind === 'anonymous' && permission !== 'any') new May(call).anything();
      return undefined;
    },
  };
}
