import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificateGate } from '../../../../src/api/call/certificate-gate.js';
import type { ClientCertificate } from '../../../../src/api/call/call.js';
import type { MethodInfo } from '../../../../src/api/call/method-info.js';
import { systemClock } from '../../../../src/base/clock.js';
import { RollcallError } from '../../../../src/model/errors.js';
import { callOf } from '../../../support/call.js';

const NOW_MS = 1_000_000;
const READ: MethodInfo = { path: '/t.Test/Do', kind: 'UNARY', audience: 'public', permission: 'read', readOnly: true };
const OPEN: MethodInfo = { ...READ, permission: 'none' };
const PEER: MethodInfo = { ...READ, audience: 'peer', permission: 'peer' };

/** The reason for which a call is refused; `undefined` if it is admitted. */
function refusal(
  required: boolean,
  method: MethodInfo,
  certificate: ClientCertificate | undefined,
): string | undefined {
  try {
    assert.equal(
      certificateGate(required, { ...systemClock, wall: () => NOW_MS }).admit(callOf(method, { certificate })),
      undefined,
    );
    return undefined;
  } catch (error) {
    assert.ok(error instanceof RollcallError);
    return error.reason;
  }
}

test('A2: a certificate that cannot be verified is refused whether one is required or not, and none where it is', () => {
  const good = { fault: undefined, notAfterMs: NOW_MS, subjectAltName: undefined };
  const bad = { ...good, fault: 'CERT_REVOKED' };
  const ended = { ...good, notAfterMs: NOW_MS - 1 };
  for (const [required, certificate, reason] of [
    [true, good, undefined],
    [true, bad, 'CERTIFICATE_UNTRUSTED'],
    [true, ended, 'CERTIFICATE_UNTRUSTED'],
    [false, ended, 'CERTIFICATE_UNTRUSTED'],
    [true, undefined, 'CERTIFICATE_REQUIRED'],
    [false, good, undefined],
    [false, bad, 'CERTIFICATE_UNTRUSTED'],
    [false, undefined, undefined],
  ] as const) {
    assert.equal(refusal(required, READ, certificate), reason);
    assert.equal(refusal(required, OPEN, certificate), undefined, 'health checks are answered');
    assert.equal(refusal(required, PEER, certificate), undefined, 'members prove themselves otherwise');
  }
});
