import type { Clock } from '../../base/clock.js';
import { RollcallError } from '../../model/errors.js';
import type { Gate } from './gates.js';

/** The fault of a certificate that has ended, in the words of OpenSSL. */
const ENDED = 'CERT_HAS_EXPIRED';

/**
 * Refuses calls by the certificate that the client showed: one that cannot be verified, and none where one is required. The
 * handshake lets both pass, so that probes and health checks are answered, and an error can give the reason. Members of the
 * cluster are not judged by it: their certificates need not be of the authority of the clients.
 */
export function certificateGate(required: boolean, clock: Clock): Gate {
  return {
    name: 'certificate',
    admit: ({ method, certificate }) => {
      if (method.permission === 'none' || method.audience === 'peer') return undefined;
      const fault = certificate && (certificate.notAfterMs < clock.wall() ? ENDED : certificate.fault);
      if (fault !== undefined) {
        const message = `the certificate of the client cannot be verified (${fault})`;
        throw new RollcallError('CERTIFICATE_UNTRUSTED', message, { metadata: { fault } });
      }
      if (required && !certificate)
        throw new RollcallError('CERTIFICATE_REQUIRED', 'the client must show a certificate of its own');
      return undefined;
    },
  };
}
