import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TrustedProxies } from '../../../../src/edges/wire/trusted-proxies.js';

const proxies = new TrustedProxies([
  { address: '10.0.0.0', bits: 8 },
  { address: 'fd00::', bits: 64 },
]);

test('A7: the address of a client is the last one that no trusted proxy has', () => {
  const cases: [connected: string, forwarded: string | undefined, client: string][] = [
    ['10.0.0.1', '192.0.2.7', '192.0.2.7'],
    ['10.0.0.1', '192.0.2.7, 10.0.0.2', '192.0.2.7'],
    ['fd00::5', ' [2001:db8::1]:443 , 10.0.0.2:8080', '2001:db8::1'],
    ['10.0.0.1', '::ffff:192.0.2.7', '192.0.2.7'],
    ['10.0.0.1', '::ffff:10.0.0.9,10.0.0.3', '10.0.0.9'],
    ['10.0.0.1', undefined, '10.0.0.1'],
  ];
  for (const [connected, forwarded, client] of cases)
    assert.equal(proxies.clientOf(connected, forwarded), client, forwarded);
});

test('A7: an address that a client makes up does not count', () => {
  assert.equal(proxies.clientOf('192.0.2.7', '10.0.0.9'), '192.0.2.7', 'it is no proxy');
  assert.equal(proxies.clientOf('fd00:0:0:1::1', '10.0.0.9'), 'fd00:0:0:1::1', 'it is beside the range');
  assert.equal(
    proxies.clientOf('10.0.0.1', '203.0.113.9, 192.0.2.7'),
    '192.0.2.7',
    'it stands before the one of a proxy',
  );
  assert.equal(proxies.clientOf('10.0.0.1', '203.0.113.9, unknown'), '10.0.0.1', 'it stands before no address');
  assert.equal(proxies.clientOf('10.0.0.1', ''), '10.0.0.1');
  assert.equal(new TrustedProxies([]).clientOf('10.0.0.1', '192.0.2.7'), '10.0.0.1', 'no proxy is trusted');
});
