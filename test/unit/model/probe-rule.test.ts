import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_PORTS, isNetwork, parsePorts, PRIVATE_NETWORKS, ProbeRule } from '../../../src/model/probe-rule.js';

const rule = new ProbeRule({ networks: PRIVATE_NETWORKS, ports: DEFAULT_PORTS, loopback: false });
const all = new ProbeRule({ networks: ['0.0.0.0/0', '::/0'], ports: '1-65535', loopback: true });
const refuses = (one: ProbeRule, ip: string, port = 8_080): boolean => one.refusal(ip, port, []) !== undefined;

test('private addresses and the ports of services are probed, and others are not', () => {
  for (const ip of ['10.1.2.3', '172.16.0.1', '192.168.1.1', '100.64.0.9', 'fd12:3456::1', '::ffff:10.0.0.1'])
    assert.equal(rule.refusal(ip, 8_080, []), undefined, ip);
  for (const ip of ['8.8.8.8', '172.32.0.1', '2001:4860::1', '127.0.0.1', '::1']) assert.ok(refuses(rule, ip), ip);
  for (const port of [22, 2_375, 2_379, 2_380, 6_443, 10_250, 10_255])
    assert.ok(refuses(rule, '10.0.0.1', port), `${port}`);
  for (const port of [80, 443, 1_024, 5_432, 65_535]) assert.ok(!refuses(rule, '10.0.0.1', port), `${port}`);
});

test('K9: metadata services, link-local and unusable addresses are refused whatever the settings, in every form', () => {
  const never = [
    ...['169.254.169.254', '169.254.0.1', '100.100.100.200', '168.63.129.16', '192.0.0.192'],
    ...['0.0.0.0', '224.0.0.1', '255.255.255.255', '240.0.0.1'],
    ...['::', 'fe80::1', 'ff02::1', 'fd00:ec2::254', 'fd20:ce::254'],
    ...['::ffff:169.254.169.254', '::ffff:a9fe:a9fe', '64:ff9b::a9fe:a9fe', '2002:a9fe:a9fe::1', '::169.254.169.254'],
    ...['64:ff9b::169.254.169.254', '64:ff9b:1::1', '2001:0:a9fe:a9fe::1'],
  ];
  for (const ip of never) assert.ok(refuses(all, ip), ip);
  for (const ip of ['8.8.8.8', '127.0.0.1', '::1', '64:ff9b::8.8.8.8', '2002:808:808::1', '2600::1'])
    assert.ok(!refuses(all, ip), ip);
});

test('the ports of the servers and of their store are refused at their addresses alone', () => {
  const own = [
    { ip: '10.0.0.5', port: 2_379 },
    { ip: '::ffff:10.0.0.6', port: 7_400 },
  ];
  assert.ok(all.refusal('10.0.0.5', 2_379, own));
  assert.ok(all.refusal('10.0.0.6', 7_400, own));
  assert.equal(all.refusal('10.0.0.7', 7_400, own), undefined);
  assert.equal(all.refusal('10.0.0.5', 2_378, own), undefined);
});

test('networks and ports are read, and mistakes are found', () => {
  for (const text of ['10.0.0.0/8', '0.0.0.0/0', '::/0', 'fd00::/8']) assert.ok(isNetwork(text), text);
  for (const text of ['10.0.0.0', '10.0.0.0/33', '10.0.0/8', 'a/8', '10.0.0.0/8/8', ''])
    assert.ok(!isNetwork(text), text);
  assert.deepEqual(parsePorts('80, 1024-65535'), [
    [80, 80],
    [1_024, 65_535],
  ]);
  for (const text of ['', '0', '65536', '9-8', '80,', '-1', 'http']) assert.equal(parsePorts(text), undefined, text);
});
