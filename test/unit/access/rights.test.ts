import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ROLES } from '../../../src/access/actions.js';
import { type GrantText } from '../../../src/access/access-file.js';
import { conditionalGrants, rightsOf, rightsOfClaims } from '../../../src/access/grants.js';
import { ALL_RIGHTS, NO_RIGHTS } from '../../../src/access/rights.js';

const grant = (role: keyof typeof ROLES, names: Partial<GrantText>): GrantText => ({
  ...{ role: ROLES[role], if: {}, namespaces: ['shop'], services: undefined, configs: undefined },
  ...names,
});

test('A4: a grant allows its actions on its own names, and nothing else', () => {
  const rights = rightsOf([grant('reader', { services: ['pay*'], configs: ['default/pay/*'] })]);
  assert.equal(rights.service('read', 'shop', 'pay'), true);
  assert.equal(rights.service('read', 'shop', 'cart'), false);
  assert.equal(rights.service('read', 'other', 'pay'), false);
  assert.equal(rights.service('register', 'shop', 'pay'), false);
  assert.equal(rights.config('config:read', 'shop', 'default', 'pay/app.yaml'), true);
  assert.equal(rights.config('config:read', 'shop', 'default', 'pay'), false);
  assert.equal(rights.config('config:read', 'shop', 'other', 'pay/app.yaml'), false);
  assert.equal(rights.config('config:write', 'shop', 'default', 'pay/app.yaml'), false);
  assert.equal(rights.services('read', 'shop'), false);
  assert.equal(rights.configs('config:read', 'shop', 'default/pay/x'), true);
  assert.equal(rights.configs('config:read', 'shop', 'default/'), false);
  assert.equal(rights.everywhere('read'), false);
});

test('A4: grants add up, but a question about many names is answered by one of them', () => {
  const rights = rightsOf([
    grant('discoverer', { services: ['a*'] }),
    grant('discoverer', { services: ['b*'] }),
    grant('monitor', { namespaces: ['*'] }),
    grant('discoverer', { namespaces: ['open'] }),
  ]);
  assert.equal(rights.service('read', 'shop', 'a1') && rights.service('read', 'shop', 'b1'), true);
  assert.equal(rights.services('read', 'shop'), false);
  assert.equal(rights.services('read', 'open'), true);
  assert.equal(rights.everywhere('metrics'), true);
  assert.equal(rights.everywhere('read'), false, 'no action leaks from one grant into another');
});

test('A4: the role "service" reads its whole namespace, registers what is named, and has no config that is not named', () => {
  const rights = rightsOf([grant('service', { services: ['pay'] })]);
  assert.equal(rights.service('register', 'shop', 'pay'), true);
  assert.equal(rights.service('register', 'shop', 'cart'), false);
  assert.equal(rights.services('read', 'shop'), true);
  assert.equal(rights.service('read', 'other', 'pay'), false);
  assert.equal(rights.config('config:read', 'shop', 'default', 'x'), false);
  const named = rightsOf([grant('service', { services: ['pay'], configs: ['default/x'] })]);
  assert.equal(named.config('config:read', 'shop', 'default', 'x'), true);
  assert.equal(named.config('config:read', 'shop', 'default', 'y'), false);
});

test('A4: admin is every action, and no grant is none', () => {
  const admin = rightsOf([grant('admin', { namespaces: ['shop'] })]);
  assert.equal(admin.service('operate', 'shop', 'x') && admin.config('config:write', 'shop', 'g', 'k'), true);
  assert.equal(admin.service('read', 'other', 'x'), false);
  assert.equal(admin.everywhere('admin'), false, 'not beyond its namespaces');
  assert.equal(ALL_RIGHTS.everywhere('admin') && ALL_RIGHTS.configs('config:write', 'any', ''), true);
  assert.equal(NO_RIGHTS.isEmpty && !NO_RIGHTS.service('read', 'default', 'x'), true);
});

test('A4: claims fill the captures of a grant, and all conditions must hold with the same captures', () => {
  const conditional = conditionalGrants([
    grant('service', { if: { sub: 'k8s:{ns}:{svc}' }, namespaces: ['{ns}'], services: ['{svc}', '{svc}-*'] }),
    grant('operator', { if: { groups: 'sre', 'realm_access.level': '2' }, namespaces: ['*'] }),
    grant('publisher', { if: { groups: 'team-{team}', team: '{team}' }, configs: ['{team}/*'] }),
  ]);
  const pay = rightsOfClaims(conditional, { sub: 'k8s:shop:pay' });
  assert.equal(pay.service('register', 'shop', 'pay') && pay.service('register', 'shop', 'pay-2'), true);
  assert.equal(pay.service('register', 'other', 'pay') || pay.service('register', 'shop', 'payments'), false);
  const sre = (claims: object): boolean => rightsOfClaims(conditional, { ...claims }).everywhere('operate');
  assert.equal(sre({ groups: ['a', 'sre'], realm_access: { level: 2 } }), true);
  assert.equal(sre({ groups: ['a', 'sre'] }), false);
  assert.equal(sre({ groups: ['a', 'sre'], 'realm_access.level': 3, realm_access: { level: 2 } }), false);
  assert.equal(sre({ groups: { sre: true }, realm_access: { level: 2 } }), false);
  const team = rightsOfClaims(conditional, { groups: ['team-red', 'team-blue'], team: 'blue' });
  assert.equal(team.config('config:write', 'shop', 'blue', 'x'), true);
  assert.equal(team.config('config:write', 'shop', 'red', 'x'), false);
  assert.equal(rightsOfClaims(conditional, { groups: ['team-red'], team: 'blue' }).isEmpty, true);
  for (const sub of ['k8s:*:pay', 'k8s:a:b:c', 'k8s::pay', undefined, 7, ['k8s:a:b', 'x'][1]])
    assert.equal(rightsOfClaims(conditional, { sub }).isEmpty, true, String(sub));
});
