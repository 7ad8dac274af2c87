import assert from 'node:assert/strict';
import { test } from 'node:test';
import { readAccessFile } from '../../../src/access/access-file.js';
import { FailedLogins, type Limits, type Quota, Quotas } from '../../../src/access/quotas.js';
import { Rules } from '../../../src/access/rules.js';
import { networkOf } from '../../../src/base/hosts.js';
import { RollcallError } from '../../../src/model/errors.js';

/** Quotas on a clock that a test moves. */
function stage(): { clock: { ms: number }; quotas: Quotas; of: (limits: Limits, name?: string) => Quota } {
  const clock = { ms: 0 };
  const quotas = new Quotas({ now: () => clock.ms } as never);
  return { clock, quotas, of: (limits, name = 'token:pay') => quotas.of(name, limits)! };
}

/** The milliseconds after which a refused caller may try again; 0 if it was not refused. */
function waitOf(take: () => void): number {
  try {
    take();
    return 0;
  } catch (error) {
    assert.ok(error instanceof RollcallError && error.reason === 'RATE_LIMITED');
    return error.retryAfterMs!;
  }
}

test('A7: a caller has its calls of two seconds at once, then as many a second, and receives the time after which to try again', () => {
  const { clock, of } = stage();
  const quota = of({ callsPerSecond: 10 });
  const taken = (n: number): number =>
    Array.from({ length: n }, () => waitOf(() => quota.takeCall())).filter((ms) => ms === 0).length;
  assert.equal(taken(50), 20);
  assert.equal(
    waitOf(() => quota.takeCall()),
    100,
  );
  clock.ms += 1_000;
  assert.equal(taken(50), 10);
  clock.ms += 3_600_000;
  assert.equal(taken(50), 20, 'an hour of quiet is no more than a burst');
});

test('A7: calls, beats and watches are counted apart, and what has no limit is not counted', () => {
  const { of } = stage();
  const quota = of({ callsPerSecond: 1, watches: 1 });
  for (let i = 0; i < 10; i++) waitOf(() => quota.takeCall());
  assert.equal(
    waitOf(() => quota.takeBeats(1_000_000)),
    0,
    'beats have a limit only where the file sets one',
  );
  assert.equal(
    waitOf(() => quota.openWatch()),
    0,
  );
  assert.ok(waitOf(() => quota.openWatch()) > 0);
  quota.closeWatch();
  assert.equal(
    waitOf(() => quota.openWatch()),
    0,
  );
});

test('A7: a heartbeat of more items than a burst counts once the allowance is full, and later ones pay for it', () => {
  const { clock, of } = stage();
  const quota = of({ beatsPerSecond: 100 });
  assert.equal(
    waitOf(() => quota.takeBeats(1_000)),
    0,
  );
  assert.equal(
    waitOf(() => quota.takeBeats(1)),
    8_010,
  );
  clock.ms += 8_010;
  assert.equal(
    waitOf(() => quota.takeBeats(1)),
    0,
  );
});

test('A7: one caller never uses up the limit of another, and a changed limit counts at once', () => {
  const { quotas, of } = stage();
  const limits = { callsPerSecond: 1 };
  const [a, b] = [of(limits, 'token:a'), of(limits, 'token:b')];
  for (let i = 0; i < 10; i++) waitOf(() => a.takeCall());
  assert.equal(
    waitOf(() => b.takeCall()),
    0,
  );
  assert.equal(quotas.of('token:a', undefined), undefined);
  assert.equal(of({ callsPerSecond: 1_000 }, 'token:a'), a);
  assert.equal(a.limits.callsPerSecond, 1_000);
});

test('A7: callers beyond 10,000 are forgotten, but none that has a watch', () => {
  const { quotas, of } = stage();
  const first = of({ watches: 1 }, 'first');
  first.openWatch();
  for (let i = 0; i < 20_000; i++) of({ watches: 1 }, `caller ${i}`);
  assert.equal(quotas.of('first', { watches: 1 }), first);
});

test('A7: the first entry that has the name of a caller gives its limits', () => {
  const text = `
quotas:
  - { callers: ["token:ci"], calls-per-second: 50 }
  - { callers: ["token:*", "jwt:k8s:*"], watches: 10, beats-per-second: 7 }
`;
  const rules = new Rules(readAccessFile('a.yaml', text), undefined, undefined as never);
  const of = (name: string): unknown => JSON.parse(JSON.stringify(rules.limitsOf(name) ?? null));
  assert.deepEqual(of('token:ci'), { callsPerSecond: 50 });
  assert.deepEqual(of('token:ci2'), { beatsPerSecond: 7, watches: 10 });
  assert.deepEqual(of('jwt:k8s:a:b'), { beatsPerSecond: 7, watches: 10 });
  assert.equal(of('anonymous'), null);
  for (const bad of ['calls-per-second: 0', 'calls-per-second: 1.5', 'watches: -1', 'beats-per-second: "x"', 'call: 1'])
    assert.throws(() => readAccessFile('a.yaml', `quotas: [{ callers: ["*"], ${bad} }]`), /quotas\.0\./, bad);
});

test('A7: clients are counted by IPv4 address, and by the first 64 bits of an IPv6 address', () => {
  assert.equal(networkOf('10.0.0.1'), '10.0.0.1');
  assert.equal(networkOf('2001:db8:1:2:3:4:5:6'), '2001:db8:1:2::/64');
  assert.equal(networkOf('2001:db8:1:2::9'), '2001:db8:1:2::/64');
  assert.equal(networkOf('2001:0db8:1::9'), '2001:db8:1:0::/64');
  assert.equal(networkOf('::1'), '0:0:0:0::/64');
  assert.notEqual(networkOf('2001:db8:1:3::9'), networkOf('2001:db8:1:2::9'));
});

test('A7: addresses beyond 10,000 with wrong signatures are forgotten, oldest first', () => {
  const clock = { now: () => 0 } as never;
  const logins = new FailedLogins(clock);
  const fail = (address: string): void => {
    logins.begin(address);
    logins.end(address, true);
  };
  for (let i = 0; i < 20; i++) fail('first');
  assert.throws(() => fail('first'), { reason: 'RATE_LIMITED' });
  fail('other');
  for (let i = 0; i < 10_000; i++) fail(`address ${i}`);
  fail('first');
});

test('A7: wrong signatures that were begun together count all the same, and right ones cost nothing', () => {
  const clock = { ms: 0 };
  const logins = new FailedLogins({ now: () => clock.ms } as never);
  for (let i = 0; i < 10_000; i++) {
    logins.begin('mesh');
    logins.end('mesh', false);
  }
  for (let i = 0; i < 500; i++) logins.begin('a');
  assert.throws(() => logins.begin('a'), { reason: 'RATE_LIMITED' }, 'no more than 500 at a time');
  logins.begin('mesh');
  for (let i = 0; i < 500; i++) logins.end('a', true);
  clock.ms = 40_000;
  assert.throws(() => logins.begin('a'), { reason: 'RATE_LIMITED' }, 'they are paid for');
  clock.ms = 60_000;
  logins.begin('a');
});
