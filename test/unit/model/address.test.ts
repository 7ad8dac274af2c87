import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isLoopback, readAddress } from '../../../src/model/address.js';

const REFUSED: readonly (readonly [given: string, rule: RegExp])[] = [
  ['0.0.0.0', /unspecified/],
  ['::', /unspecified/],
  ['0:0:0:0:0:0:0:0', /unspecified/],
  ['::ffff:0.0.0.0', /unspecified/],
  ['224.0.0.1', /multicast/],
  ['239.255.255.255', /multicast/],
  ['::ffff:224.0.0.1', /multicast/],
  ['ff02::1', /multicast/],
  ['255.255.255.255', /broadcast/],
  ['fe80::1%eth0', /zone/],
  ['[2001:db8::1]', /write "2001:db8::1"$/],
  ['[2001:db8::1]:443', /write "2001:db8::1", and port 443 in "port"/],
  ['10.0.0.1:80', /write "10.0.0.1", and port 80 in "port"/],
  ['pay.example.com:80', /write "pay.example.com", and port 80 in "port"/],
  ['pay.example.com.', /write "pay.example.com"$/],
  ['[0.0.0.0]', /must be an IP address or a host name$/],
  ['1.2.3', /last label is a number/],
  ['1.2.3.256', /last label is a number/],
  ['010.0.0.1', /last label is a number/],
  ['10', /last label is a number/],
  ['host.0x7f', /last label is a number/],
  ['a..b', /must be an IP address or a host name$/],
  ['-a.b', /must be an IP address or a host name$/],
  ['http://a', /must be an IP address or a host name$/],
  [`${'a'.repeat(64)}.b`, /63 characters/],
  ['a'.repeat(254), /253 characters/],
];

for (const [given, rule] of REFUSED) {
  test(`the address ${given.slice(0, 40)} is refused`, () => {
    const verdict = readAddress(given);
    assert.ok('refusal' in verdict, 'it was accepted');
    assert.match(verdict.refusal, rule);
  });
}

const ACCEPTED: Readonly<Record<string, string>> = {
  '10.0.0.1': '10.0.0.1',
  '127.0.0.1': '127.0.0.1',
  '223.255.255.255': '223.255.255.255',
  '240.0.0.1': '240.0.0.1',
  '2001:DB8:0:0:0:0:0:1': '2001:db8::1',
  '2001:0db8::0001': '2001:db8::1',
  '::1': '::1',
  'fe80::1': 'fe80::1',
  '::ffff:10.0.0.1': '10.0.0.1',
  '::FFFF:0a00:0001': '10.0.0.1',
  '0:0:0:0:0:ffff:10.0.0.1': '10.0.0.1',
  'pay.example.com': 'pay.example.com',
  localhost: 'localhost',
  my_service_1: 'my_service_1',
  '4you': '4you',
  '1.example': '1.example',
};

for (const [given, address] of Object.entries(ACCEPTED)) {
  test(`the address ${given} is stored as ${address}`, () => assert.deepEqual(readAddress(given), { address }));
}

test('loopback addresses are told from others', () => {
  for (const address of ['127.0.0.1', '127.255.0.1', '::1', 'localhost', 'a.localhost', 'LOCALHOST'])
    assert.equal(isLoopback(address), true, address);
  for (const address of ['10.0.0.1', '126.0.0.1', '::2', 'localhost.example', 'pay'])
    assert.equal(isLoopback(address), false, address);
});
