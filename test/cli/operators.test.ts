import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isDeepStrictEqual } from 'node:util';
import { Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { RegisterRequest } from '../../src/gen/rollcall/v1/registry_service.js';
import { CommandLine } from '../support/cli.js';
import { ListLivenessRequest, type ListLivenessResponse } from '../../src/gen/rollcall/v1/admin_service.js';
import { freePorts, startEtcd } from '../support/etcd.js';
import {
  call,
  eventually,
  onEtcd,
  type ServerProcess,
  startServer,
  startWith,
  temporaryFolder,
} from '../support/server.js';

const register = (server: ServerProcess, id: string): Promise<unknown> =>
  call(
    server.registry,
    'register',
    RegisterRequest.fromPartial({
      instance: { service: 'pay', id, address: '10.0.0.7', port: 80, liveness: Liveness.LIVENESS_STATIC },
      incarnation: 'a',
    }),
  );

test('O1: drain, disable, enable and why work together, and exit codes say what clients see', async (t) => {
  const server = await startServer(t);
  const cli = new CommandLine(t, server.address);
  for (const id of ['p1', 'p2', 'p3', 'p4']) await register(server, id);
  assert.match(await cli.ok(['why', 'pay/p1']), /^pay\/p1 {2}SHOWN: HEALTHY\n/);
  assert.match(
    await cli.ok(['drain', 'pay/p1', '--comment', 'new disk']),
    /is DRAINING, drained; this holds for this run of the process/,
  );
  assert.match(
    await cli.ok(['disable', 'pay/p2', '--comment', 'bad memory', '--for', '7d']),
    /UNHEALTHY, disabled; this holds for every process with this id/,
  );
  const hidden = await cli.run(['why', 'pay/p1']);
  assert.equal(hidden.code, 9);
  assert.match(hidden.stdout, /! an operator drains it: new disk, until /);
  const overrides = await cli.ok(['overrides', 'pay']);
  assert.match(overrides, /pay\/p1 +drained +this run .*new disk\npay\/p2 +disabled +the id .*bad memory/);
  assert.match(await cli.ok(['instances', 'pay']), /p2 .*UNHEALTHY, disabled/);
  assert.match(await cli.ok(['instances', '--address', '10.0.0.7']), /pay\/p1 .*DRAINING.*\n(.*\n)*pay\/p4 /);
  assert.doesNotMatch(await cli.ok(['instances', '--address', '10.0.0.8']), /pay/);
  const refused = await cli.run(['disable', 'pay/p3', '--comment', 'x']);
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /1 of 4 instances of pay would be up; at least 2 must stay, unless --force is given/);
  const stays = await cli.run(['undrain', 'pay/p2']);
  assert.equal(stays.code, 6, 'a disable is not ended by undrain');
  assert.match(stays.stderr, /pay\/p2 is disabled \(bad memory\); that stays/);
  const weaker = await cli.run(['drain', 'pay/p2', '--comment', 'deploy']);
  assert.equal(weaker.code, 6, 'nor replaced by a drain');
  assert.match(weaker.stderr, /end that first, or replace it with --force/);
  assert.equal((await cli.run(['weight', 'pay/p3', '0', '--comment', 'small'])).code, 1, 'nobody would call it');
  assert.match(
    await cli.ok(['weight', 'pay/p3', '0', '--comment', 'small', '--force']),
    /holds for every process with this id/,
  );
  assert.match(await cli.ok(['why', 'pay/p3']), /! its weight is 0: .*an operator set it: small/);
  assert.match(await cli.ok(['overrides', 'pay']), /pay\/p3 +weight 0 +the id/);
  assert.match(await cli.ok(['unweight', 'pay/p3']), /pay\/p3 is HEALTHY/);
  for (const mistake of [
    ['drain', 'pay/p3', '--comment', 'x', '--grace', '5s'],
    ['drain', 'pay/p3', '--comment', 'x', '--wait', '--grace', '25d'],
    ['weight', 'pay/p3', '10001', '--comment', 'x'],
    ['instances', '--address', ''],
    ['events', ''],
  ])
    assert.equal((await cli.run(mistake)).code, 2, mistake.join(' '));
  assert.match(await cli.ok(['undrain', 'pay/p1']), /is HEALTHY/);
  assert.match(await cli.ok(['enable', 'pay/p2']), /is HEALTHY/);
  assert.equal((await cli.run(['enable', 'pay/p2'])).code, 0, 'a repeat is OK');
  assert.equal((await cli.run(['why', 'pay/p9'])).code, 4);
  await cli.ok(['deregister', 'pay/p4', '--comment', 'wrong host']);
  const removed = await cli.run(['why', 'pay/p4']);
  assert.equal(removed.code, 10);
  assert.match(removed.stdout, /! it was deregistered by an operator: wrong host/);
  const events = await cli.ok(['events', 'pay', '--limit', '3']);
  assert.deepEqual(
    events
      .split('\n')
      .slice(1, 4)
      .map((line) => line.split(/ {2,}/).slice(2, 4).join(' ')),
    ['deregistered pay/p4', 'override ended pay/p2', 'override ended pay/p1'],
  );
  const json = JSON.parse(await cli.ok(['events', 'pay/p2', '-o', 'json'])) as { transitions: { kind: string }[] };
  assert.deepEqual(
    json.transitions.map(({ kind }) => kind),
    ['TRANSITION_KIND_OVERRIDE_ENDED', 'TRANSITION_KIND_OVERRIDE_SET', 'TRANSITION_KIND_REGISTERED'],
  );
});

test('O3: three servers agree about an override, watchers are listed over all of them, and a drain waits for each', async (t) => {
  const etcd = await startEtcd(t);
  const start = (node: string): Promise<ServerProcess> => startWith(t, [...onEtcd(etcd.endpoints), '--node', node], []);
  const servers = await Promise.all(['n1', 'n2', 'n3'].map(start));
  const [first, second, third] = servers as [ServerProcess, ServerProcess, ServerProcess];
  const [one, two, three] = [first, second, third].map(({ address }) => new CommandLine(t, address));
  for (const id of ['p1', 'p2', 'p3']) await register(first, id);
  const watches = [one!, two!, three!].map((cli) => cli.start(['watch', 'pay']));
  for (const watch of watches) await eventually(() => watch.printed.stdout.includes('p3'));
  const listed = JSON.parse(await two!.ok(['watchers', 'pay', '-o', 'json'])) as { watchers: { node: string }[] };
  assert.deepEqual(
    listed.watchers.map(({ node }) => node),
    ['n1', 'n2', 'n3'],
  );
  const drained = await one!.ok(['drain', 'pay/p1', '--comment', 'deploy', '--wait', '--grace', '0s']);
  assert.match(drained, /sent to 3 readers on 3 servers/);
  for (const watch of watches) assert.match(watch.printed.stdout, /~ pay\/p1 {2}HEALTHY -> DRAINING, drained/);
  // A server that is frozen is named, and the drain goes on waiting.
  third.process.kill('SIGSTOP');
  const why = await one!.run(['why', 'pay/p1']);
  assert.match(why.stderr, /did not answer: n3/);
  assert.match(why.stdout, /! an operator drains it: deploy/);
  assert.match(why.stdout, /override set +pay\/p1/);
  third.process.kill('SIGCONT');
  const waiting = two!.start(['drain', 'pay/p2', '--comment', 'deploy', '--wait', '--grace', '0s']);
  assert.equal((await waiting.ended).code, 0);
  for (const watch of watches) watch.process.kill('SIGTERM');
  await Promise.all(watches.map((watch) => watch.ended));
});

test('events are followed, over a restart of the server too, and heartbeats are seen by the server that heard them', async (t) => {
  const folder = temporaryFolder();
  const [port] = await freePorts(1);
  const start = (): Promise<ServerProcess> => startServer(t, folder, [], '--grpc-port', String(port));
  const server = await start();
  const cli = new CommandLine(t, server.address);
  const events = cli.start(['events', '--follow']);
  await eventually(() => events.printed.stderr.includes('follow'));
  const beating = cli.start(['register', 'pay', '--id', 'b', '--address', '10.0.0.1', '--port', '1', '--ttl', '2']);
  await eventually(() => /registered {2}pay\/b {2}HEALTHY/.test(events.printed.stdout));
  await register(server, 's');
  await eventually(() => /registered {2}pay\/s {2}HEALTHY/.test(events.printed.stdout));
  // The first heartbeat comes after a third of the ttl. Answers are shared for a second.
  await eventually(async () => {
    const { instances } = await call<ListLivenessResponse>(server.admin, 'listLiveness', ListLivenessRequest.create());
    const heard = instances.map(({ id, heard: [by] }) => [id, by!.age !== undefined]);
    return isDeepStrictEqual(heard, [
      ['b', true],
      ['s', false],
    ]);
  });
  await server.kill();
  await eventually(() => events.printed.stderr.includes('no server answers'));
  const again = await start();
  await eventually(() => events.printed.stderr.includes('may be missing'), 30_000);
  await register(again, 's2');
  await eventually(() => /registered {2}pay\/s2 {2}HEALTHY/.test(events.printed.stdout));
  for (const one of [beating, events]) {
    one.process.kill('SIGTERM');
    assert.equal((await one.ended).code, 0);
  }
});
