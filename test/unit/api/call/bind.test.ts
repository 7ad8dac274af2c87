import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UNIDENTIFIED } from '../../../../src/access/principal.js';
import { adminHandlers } from '../../../../src/api/admin/handlers.js';
import { bind } from '../../../../src/api/call/bind.js';
import { asksNothing, type Handlers, needs, unary } from '../../../../src/api/call/method.js';
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
  ...adminHandlers({} as never),
  releaseProtection: unary(
    ({ service }) => ({ service }),
    asksNothing,
    ({ service }) => ({ revision: BigInt(service.length) }),
  ),
  forgetMember: unary(
    ({ node }) => node,
    asksNothing,
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
  const bound = bind(SERVICES.admin, echo);
  const readOnly = new Map(bound.map((method) => [method.path, method.readOnly]));
  assert.deepEqual(
    [...readOnly],
    [
      ['/rollcall.v1.AdminService/GetStatus', true],
      ['/rollcall.v1.AdminService/GetSelf', true],
      ['/rollcall.v1.AdminService/ListAuditEvents', true],
      ['/rollcall.v1.AdminService/ReleaseProtection', false],
      ['/rollcall.v1.AdminService/ForgetMember', false],
      ['/rollcall.v1.AdminService/Why', true],
      ['/rollcall.v1.AdminService/ListTransitions', true],
      ['/rollcall.v1.AdminService/WatchTransitions', true],
      ['/rollcall.v1.AdminService/ListLiveness', true],
      ['/rollcall.v1.AdminService/ListWatchers', true],
      ['/rollcall.v1.AdminService/GetDelivery', true],
      ['/rollcall.v1.AdminService/Backup', false],
    ],
  );
});

test('the rule of a method sees the checked request before run does, and a refusal keeps run from being called', () => {
  const order: string[] = [];
  const handlers: Handlers<AdminServiceDefinition> = {
    ...echo,
    releaseProtection: unary(
      ({ service }) => {
        order.push('check');
        return { checked: service };
      },
      needs(({ checked }, may) => {
        order.push(`rule ${checked}`);
        may.service('default', checked);
      }),
      ({ checked }) => {
        order.push(`run ${checked}`);
        return { revision: 7n };
      },
    ),
  };
  const request = ReleaseProtectionRequest.encode(ReleaseProtectionRequest.fromPartial({ service: 'pay' })).finish();
  const method = bind(SERVICES.admin, handlers).find(({ path }) => path.endsWith('/ReleaseProtection'));
  assert.ok(method?.kind === 'UNARY');
  const response = method.invoke(request, callOf(method));
  assert.ok(response instanceof Uint8Array, 'without a wait there is no promise');
  assert.equal(ReleaseProtectionResponse.decode(response).revision, 7n);
  assert.deepEqual(order.splice(0), ['check', 'rule pay', 'run pay']);
  const foreign = callOf(method, { principal: UNIDENTIFIED });
  assert.throws(() => method.invoke(request, foreign), { reason: 'CREDENTIAL_REQUIRED' });
  assert.deepEqual(order, ['check', 'rule pay']);
});

test('a missing or misspelled handler does not compile', () => {
  // @ts-expect-error a method is missing
  const missing: Handlers<AdminServiceDefinition> = { getStatus: echo.getStatus };
  // @ts-expect-error a method is misspelled
  const misspelled: Handlers<AdminServiceDefinition> = { ...missing, releaseProtections: echo.releaseProtection };
  const noFields = unary(
    () => 1,
    asksNothing,
    () => ({}),
  );
  // @ts-expect-error the rule is missing
  const noRule = unary(
    ({ service }: ReleaseProtectionRequest) => service,
    () => ({ revision: 1n }),
  );
  // @ts-expect-error a field of the response is missing
  const noRevision: Handlers<AdminServiceDefinition> = { ...echo, releaseProtection: noFields };
  assert.equal([missing, misspelled, noRule, noRevision].length, 4, 'the compiler has refused all four');
});
