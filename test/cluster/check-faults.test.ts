import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readdirSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { ProbeOutcome } from '../../src/gen/rollcall/v1/check.js';
import { Health, Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { discover, getCheckResults, getStatus, heartbeat, register } from '../support/client.js';
import { LONG, pause } from '../support/cluster.js';
import { TestResolver } from '../support/dns.js';
import { startEtcd } from '../support/etcd.js';
import { eventually, onEtcd, type ServerProcess, startServer, startWith, temporaryFolder } from '../support/server.js';

const INTERVAL = { seconds: 2n, nanos: 0 };
const TIMEOUT = { seconds: 1n, nanos: 0 };
const TCP = { probe: { $case: 'tcp' as const, value: {} }, interval: INTERVAL, timeout: TIMEOUT };
const NODES = ['n1', 'n2', 'n3'];

const isUp = async (server: ServerProcess, service: string): Promise<number> =>
  (await discover(server, { service })).instances.filter(({ health }) => health === Health.HEALTH_HEALTHY).length;

const alarmsOf = async (server: ServerProcess): Promise<string[]> =>
  (await getStatus(server)).alarms.map(({ name }) => name);

/** Listens on a free port until the test is over. */
async function listening(t: TestContext, server: net.Server, address: string, port = 0): Promise<number> {
  await new Promise<void>((resolve) => server.listen(port, address, resolve));
  t.after(() => server.close());
  return (server.address() as AddressInfo).port;
}

const quiet = (): net.Server => net.createServer((socket) => socket.on('error', () => undefined).resume());

const outcomeOf = async (server: ServerProcess, service: string, id: string): Promise<ProbeOutcome | undefined> =>
  (await getCheckResults(server, { service, id })).checks[0]!.results[0]?.outcome;

test('K1 K3: one server without a way to the targets, and then resolvers that are silent, change no verdict', async (t) => {
  const etcd = await startEtcd(t);
  const names = Array.from({ length: 30 }, (_, at) => `t${at}.rollcall.test`);
  const addresses = new Map(names.map((name, at) => [name, `127.2.0.${at + 1}`]));
  for (const address of addresses.values()) await listening(t, quiet(), address, 8_080);
  // Each server asks a resolver of its own.
  const folder = temporaryFolder();
  const resolvers = await Promise.all(NODES.map((_, at) => TestResolver.listen(t, `127.0.53.${at + 1}`, addresses)));
  const servers = await Promise.all(
    NODES.map((node, at) => {
      const file = join(folder, `resolv-${at}.conf`);
      writeFileSync(file, `nameserver 127.0.53.${at + 1}\n`);
      const run = ['sh', '-c', `mount --bind ${file} /etc/resolv.conf && exec "$@"`, 'sh'];
      return startWith(t, [...onEtcd(etcd.endpoints), '--node', node], ['unshare', '-m', ...run]);
    }),
  );
  resolvers[2]!.mode = 'NXDOMAIN';
  for (const name of names) {
    const instance = { service: 'db', id: name, address: name, port: 8_080, liveness: Liveness.LIVENESS_STATIC };
    await register(servers[0]!, { instance: { ...instance, checks: [TCP] }, incarnation: 'a' });
  }
  // Those that the third one probes pass by what the others see.
  await eventually(async () => (await isUp(servers[0]!, 'db')) === names.length, 60_000);
  const revisions = async (): Promise<bigint[]> =>
    (await discover(servers[0]!, { service: 'db' })).instances.map(({ revision }) => revision);
  const before = await revisions();
  const theirs = await Promise.all(
    names.map(async (id) => (await getCheckResults(servers[0]!, { service: 'db', id })).checks[0]!),
  );
  const mine = theirs.filter(({ node }) => node === 'n3');
  assert.ok(mine.length > 0, 'it has a share');
  for (const { results } of mine) assert.match(results[0]!.error, /^ENOTFOUND$/);
  await pause(20_000);
  assert.deepEqual(await revisions(), before, 'one server without a way');
  if (LONG) {
    await eventually(async () => (await alarmsOf(servers[2]!)).includes('CHECKS_DISAGREE'), 6 * 60_000);
    assert.deepEqual(await revisions(), before);
  }
  for (const resolver of resolvers) resolver.mode = 'nothing';
  // Answers are used for a minute, and for five where the resolver is silent; the third one has none.
  await eventually(async () => {
    const [id] = names.filter((_, at) => theirs[at]!.node === 'n3');
    return (await outcomeOf(servers[2]!, 'db', id!)) === ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE;
  }, 60_000);
  await eventually(async () => (await alarmsOf(servers[2]!)).includes('CHECKS_INCONCLUSIVE'), 130_000);
  assert.deepEqual(await revisions(), before, 'silent resolvers');
});

test('E4: a dependency that all share turns 40 of 40 to 503: they are shown, and the service is protected', async (t) => {
  const etcd = await startEtcd(t);
  const servers = await Promise.all(NODES.map((node) => startWith(t, [...onEtcd(etcd.endpoints), '--node', node], [])));
  let status = 200;
  const port = await listening(
    t,
    http.createServer((_, response) => response.writeHead(status).end()),
    '127.0.0.1',
  );
  const check = { ...TCP, probe: { $case: 'http' as const, value: { path: '/health' } } };
  for (let i = 0; i < 40; i++) {
    const place = { address: `127.3.0.${i + 1}`, port, liveness: Liveness.LIVENESS_STATIC };
    const instance = {
      service: 'web',
      id: `w${i}`,
      ...place,
      endpoints: [{ name: 'all', address: '127.0.0.1', port }],
    };
    await register(servers[0]!, {
      instance: { ...instance, checks: [{ ...check, endpoint: 'all' }] },
      incarnation: 'a',
    });
  }
  await eventually(async () => (await isUp(servers[1]!, 'web')) === 40, 30_000);
  await pause(65_000); // they are seasoned
  status = 503;
  const least = { shown: 40 };
  await eventually(async () => {
    const { instances } = await discover(servers[2]!, { service: 'web' });
    least.shown = Math.min(least.shown, instances.length);
    return instances.length === 40 && instances.every(({ health }) => health === Health.HEALTH_UNHEALTHY);
  }, 60_000);
  assert.ok((await discover(servers[0]!, { service: 'web' })).protection, 'it is said to be protected');
  // One more than half of them are recorded, then the protection, and then the others. It may be late: a server that sees the
  // falls of the others late counts its own all the same.
  assert.ok(least.shown >= 19, `${least.shown} of 40 were shown at the least`);
  status = 200;
  await eventually(async () => (await isUp(servers[1]!, 'web')) === 40, 60_000);
  await eventually(async () => !(await discover(servers[1]!, { service: 'web' })).protection, 60_000);
});

test('K3: a server without file descriptors finds nobody dead, and takes heartbeats', async (t) => {
  const server = await startServer(t);
  const port = await listening(t, quiet(), '127.0.0.1');
  const ids = Array.from({ length: 30 }, (_, i) => `i${i}`);
  for (const id of ids) {
    const instance = { service: 'db', id, address: '127.0.0.1', port, ttl: { seconds: 3n, nanos: 0 }, checks: [TCP] };
    await register(server, { instance, incarnation: 'a' });
  }
  const items = ids.map((id) => ({ service: 'db', id, incarnation: 'a' }));
  const beating = setInterval(() => void heartbeat(server, { instances: items }).catch(() => undefined), 500);
  t.after(() => clearInterval(beating));
  await eventually(async () => (await isUp(server, 'db')) === ids.length, 20_000);
  const limit = (count: string): unknown =>
    execFileSync('prlimit', ['--pid', String(server.process.pid), `--nofile=${count}`]);
  const open = readdirSync(`/proc/${server.process.pid}/fd`).length;
  limit(`${Math.floor(open / 2)}:20000`);
  await eventually(
    async () => (await outcomeOf(server, 'db', 'i0')) === ProbeOutcome.PROBE_OUTCOME_INCONCLUSIVE,
    30_000,
  );
  await eventually(async () => (await alarmsOf(server)).includes('CHECKS_INCONCLUSIVE'), 30_000);
  await pause(8_000);
  assert.equal(await isUp(server, 'db'), ids.length);
  limit('20000:20000');
  await eventually(async () => (await outcomeOf(server, 'db', 'i0')) === ProbeOutcome.PROBE_OUTCOME_PASS, 30_000);
  await eventually(async () => !(await alarmsOf(server)).includes('CHECKS_INCONCLUSIVE'), 90_000);
});

test('K9: no server probes a port of another one, or of the store', async (t) => {
  const etcd = await startEtcd(t);
  const servers = await Promise.all(NODES.map((node) => startWith(t, [...onEtcd(etcd.endpoints), '--node', node], [])));
  const grpc = servers.map(({ address }) => Number(address.split(':')[1]));
  const http = servers.map(({ url }) => Number(new URL(url).port));
  const ports = [...grpc, ...http, Number(new URL(etcd.endpoints[0]!).port), etcd.peerPorts[0]!];
  // Several instances at each port, so that each server is the checker of some.
  const ids = ports.flatMap((port) => Array.from({ length: 6 }, (_, i) => ({ id: `p${port}-${i}`, port })));
  for (const { id, port } of ids) {
    const place = { address: '127.0.0.1', port, liveness: Liveness.LIVENESS_STATIC };
    await register(servers[0]!, { instance: { service: 'own', id, ...place, checks: [TCP] }, incarnation: 'a' });
  }
  const checkers = new Set<string>();
  for (const { id } of ids) {
    const probed = await eventually(async () => {
      const { checks } = await getCheckResults(servers[1]!, { service: 'own', id });
      return checks[0]?.results[0] && checks[0];
    }, 30_000);
    checkers.add(probed.node);
    assert.deepEqual(
      [...new Set(probed.results.map(({ outcome }) => ProbeOutcome[outcome]))],
      ['PROBE_OUTCOME_DENIED'],
      id,
    );
  }
  assert.deepEqual([...checkers].sort(), NODES);
});

test('K9: a listener at an address that is never probed gets no packet, whatever a resolver says', () => {
  // The address exists only in a network of the server's own, where the test program talks to it through the command line.
  const resolv = join(temporaryFolder(), 'resolv.conf');
  writeFileSync(resolv, 'nameserver 127.0.0.53\n');
  const script = `
    mount --bind ${resolv} /etc/resolv.conf || exit 1
    ip link set lo up && ip addr add 169.254.7.7/32 dev lo && ip addr add 10.7.7.7/32 dev lo || exit 1
    exec "$@"`;
  const program = new URL('../support/denied-target.ts', import.meta.url).pathname;
  const run = ['sh', '-c', script, 'sh', process.execPath, '--import', 'tsx', program];
  const out = execFileSync('unshare', ['-n', '-m', ...run], { encoding: 'utf8', timeout: 60_000 });
  const seen = JSON.parse(out) as Record<'connections' | 'outcomes', Readonly<Record<string, unknown>>>;
  assert.deepEqual(seen.outcomes, {
    '169.254.7.7': 'PROBE_OUTCOME_DENIED',
    '10.7.7.7': 'PROBE_OUTCOME_PASS',
    'metadata.test': 'PROBE_OUTCOME_DENIED',
    'database.test': 'PROBE_OUTCOME_PASS',
  });
  assert.equal(seen.connections['169.254.7.7'], 0);
  assert.ok(Number(seen.connections['10.7.7.7']) > 0, 'what may be probed is');
});
