import assert from 'node:assert/strict';
import { test } from 'node:test';
import { adminHandlers } from '../../../../src/api/admin/handlers.js';
import { bind } from '../../../../src/api/call/bind.js';
import { type Handlers, unary } from '../../../../src/api/call/method.js';
import { SERVICES } from '../../../../src/api/services.js';
import {
  type AdminServiceDefinition,
  ReleaseProtectionRequest,
  ReleaseProtectionResponse,
} from '../../../../src/gen/rollcall/v1/admin_service.js';
import { callOf } from '../../../support/call.js';
import { METHODS, pathOf } from '../../../support/wire.js';

/** The handlers of AdminService, with a `run` that only says what it was given. */
const echo: Handlers<AdminServiceDefinition> = {
  getStatus: adminHandlers(undefined as never, undefined as never, undefined as never).getStatus,
  releaseProtection: unary(
    ({ service }) => ({ service }),
    ({ service }) => ({ revision: BigInt(service.length) }),
  ),
  forgetMember: unary(
    ({ node }) => node,
    () => ({ revision: 1n }),
  ),
};

test('the table of services has every method of the protos, with audience, permission and whether it only reads', () => {
  const held = Object.values(SERVICES).flatMap(({ definition, permissions }) =>
    Object.keys(permissions).map((key) => {
      const { name } = definition.methods[key as keyof typeof definition.methods] as { name: string };
      return `/${definition.fullName}/${name}`;
    }),
  );
  const ours = METHODS.filter(({ parent }) => parent.typeName.startsWith('rollcall.')).map(pathOf);
  assert.deepEqual(held.sort(), ours.sort());
});

test('a method only reads if its proto says NO_SIDE_EFFECTS, and nothing else says so', () => {
  const bound = bind(SERVICES.admin, echo, () => undefined);
  const readOnly = new Map(bound.map((method) => [method.path, method.readOnly]));
  assert.deepEqual(
    [...readOnly],
    [
      ['/rollcall.v1.AdminService/GetStatus', true],
      ['/rollcall.v1.AdminService/ReleaseProtection', false],
      ['/rollcall.v1.AdminService/ForgetMember', false],
    ],
  );
});

test('gates that see checked input run between check and run, and a refusal keeps run from being called', async () => {
  const order: string[] = [];
  const handlers: Handlers<AdminServiceDefinition> = {
    ...echo,
    releaseProtection: unary(
      ({ service }) => {
        order.push('check');
        return { checked: service };
      },
      ({ checked }) => {
        order.push(`run ${checked}`);
        return { revision: 7n };
      },
    ),
  };
  const request = ReleaseProtectionRequest.encode(ReleaseProtectionRequest.fromPartial({ service: 'pay' })).finish();
  const [, admitted] = bind(SERVICES.admin, handlers, (_, checked) => {
    order.push(`gate ${JSON.stringify(checked)}`);
    return undefined;
  });
  assert.ok(admitted?.kind === 'UNARY');
  const response = admitted.invoke(request, callOf(admitted));
  assert.ok(response instanceof Uint8Array, 'without a wait there is no promise');
  assert.equal(ReleaseProtectionResponse.decode(response).revision, 7n);
  assert.deepEqual(order.splice(0), ['check', 'gate {"checked":"pay"}', 'run pay']);
  const [, refused] = bind(SERVICES.admin, handlers, () => Promise.reject(new Error('no')));
  assert.ok(refused?.kind === 'UNARY');
  await assert.rejects(async () => refused.invoke(request, callOf(refused)), /no/);
  assert.deepEqual(order, ['check']);
});

test('a missing or misspelled handler does not compile', () => {
  // @ts-expect-error a method is missing
  const missing: Handlers<AdminServiceDefinition> = { getStatus: echo.getStatus };
  // @ts-expect-error a method is misspelled
  const misspelled: Handlers<AdminServiceDefinition> = { ...missing, releaseProtections: echo.releaseProtection };
  const noFields = unary(
    () => 1,
    () => ({}),
  );
  // @ts-expect-error a field of the response is missing
  const noRevision: Handlers<AdminServiceDefinition> = { ...echo, releaseProtection: noFields };
  assert.equal([missing, misspelled, noRevision].length, 3, 'the compiler has refused all three');
});
