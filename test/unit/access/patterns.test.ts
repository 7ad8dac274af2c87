import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultOfMatch, faultOfTemplate, fill, Matcher, Pattern } from '../../../src/access/patterns.js';

test('A4: a pattern is an exact name, or a beginning that ends in "*"', () => {
  for (const [text, name, has] of [
    ['pay', 'pay', true],
    ['pay', 'pay-gold', false],
    ['pay', 'Pay', false],
    ['pay-*', 'pay-gold', true],
    ['pay-*', 'pay-', true],
    ['pay-*', 'pay', false],
    ['*', '', true],
    ['*', 'anything', true],
  ] as const)
    assert.equal(new Pattern(text).has(name), has, `${text} ${name}`);
});

test('A4: a pattern has all names with a beginning only if it is a beginning of that beginning', () => {
  for (const [text, beginning, hasAll] of [
    ['default/*', 'default/', true],
    ['default/app*', 'default/app.yaml', true],
    ['default/app*', 'default/', false],
    ['default/app*', 'default/ap', false],
    ['default/app', 'default/app', false],
    ['*', '', true],
    ['a*', '', false],
  ] as const)
    assert.equal(new Pattern(text).hasAll(beginning), hasAll, `${text} ${beginning}`);
});

test('A4: a capture is one segment, and a text that says in two ways where it ends is refused', () => {
  const id = new Matcher('spiffe://example.org/ns/{ns}/sa/{svc}');
  assert.deepEqual(id.match('spiffe://example.org/ns/shop/sa/pay.v1'), { ns: 'shop', svc: 'pay.v1' });
  for (const other of [
    'spiffe://example.org/ns/shop/x/sa/pay',
    'spiffe://example.org/ns//sa/pay',
    'spiffe://example.org/ns/sh*p/sa/pay',
    'spiffe://example.org/ns/shop/sa/pay/more',
    'xspiffe://example.org/ns/shop/sa/pay',
    'spiffe://exampleXorg/ns/shop/sa/pay',
    'spiffe://example.org/ns/shop/sa/pay\n',
  ])
    assert.equal(id.match(other), undefined, other);
  assert.deepEqual(new Matcher('{svc}.example.org', true).match('pay.example.org'), { svc: 'pay' });
  assert.equal(new Matcher('{svc}.example.org', true).match('a.pay.example.org'), undefined);
  assert.deepEqual(new Matcher('ci:{team}:*').match('ci:red:build 7'), { team: 'red' });
  for (const good of ['{a}', 'x/{a}/y/{b}', 'a:{b}', '{a}/*', 'plain', 'plain*'])
    assert.equal(faultOfMatch(good), undefined, good);
  for (const bad of ['{a}{b}', '{a}-{b}', '{a}.x', '{a}*', '{a}x', 'a*b', '{A}', '{a', 'a}', '{}', '{a}/{a}', '**'])
    assert.equal(typeof faultOfMatch(bad), 'string', bad);
  assert.equal(faultOfMatch('{a}.x', true), undefined);
  assert.equal(typeof faultOfMatch('{a}-{b}.x', true), 'string');
});

test('A4: the patterns of a grant may use captures, which are compared exactly', () => {
  assert.equal(fill('{svc}-*', { svc: 'pay' }), 'pay-*');
  assert.equal(fill('{ns}/{svc}/x', { ns: 'shop', svc: '$&' }), 'shop/$&/x');
  for (const good of ['{svc}-*', '{svc}{x}', '*', 'a']) assert.equal(faultOfTemplate(good), undefined, good);
  for (const bad of ['a*b', '**', '{x', '{X}', '*a']) assert.equal(typeof faultOfTemplate(bad), 'string', bad);
});
