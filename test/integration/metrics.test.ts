import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ALL_ALARMS, ALL_COUNTERS } from '../../src/instruments.js';
import { discover, register, watchServices } from '../support/client.js';
import { eventually, failure, launchServer, onEtcd, startServer } from '../support/server.js';

/** The numbers of a scrape by name and labels. */
async function scrape(url: string): Promise<Map<string, number>> {
  const response = await fetch(`${url}/metrics`);
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type')!, /^text\/plain; version=0\.0\.4/);
  const lines = (await response.text()).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
  return new Map(
    lines.map((line) => [line.slice(0, line.lastIndexOf(' ')), Number(line.slice(line.lastIndexOf(' ')))]),
  );
}

const DISCOVER = 'grpc_type="unary",grpc_service="rollcall.v1.RegistryService",grpc_method="Discover"';

test('a scrape shows the calls of both protocols, the registry, the watches, every counter and every alarm', async (t) => {
  const server = await startServer(t);
  for (const id of ['a', 'b'])
    await register(server, { instance: { service: 'pay', id, address: '10.0.0.1', port: 80 } });
  for (let i = 0; i < 3; i++) await discover(server, { service: 'pay' });
  await failure(discover(server, { service: '-' }));
  assert.equal((await fetch(`${server.url}/v1/services/pay`)).status, 200);
  const watch = watchServices(server, { services: ['pay'] });
  await eventually(async () => (await scrape(server.url)).get('rollcall_watches') === 1);
  const seen = await scrape(server.url);
  assert.equal(seen.get(`grpc_server_handled_total{${DISCOVER},transport="grpc",grpc_code="OK"}`), 3);
  assert.equal(seen.get(`grpc_server_handled_total{${DISCOVER},transport="grpc",grpc_code="InvalidArgument"}`), 1);
  assert.equal(seen.get(`grpc_server_handled_total{${DISCOVER},transport="http",grpc_code="OK"}`), 1);
  assert.equal(seen.get(`grpc_server_handling_seconds_count{${DISCOVER},transport="grpc"}`), 4);
  assert.equal(seen.get('rollcall_call_errors_total{reason="INVALID_REQUEST"}'), 1);
  assert.equal(seen.get('rollcall_instances'), 2);
  assert.equal(seen.get('rollcall_services'), 1);
  assert.equal(seen.get('rollcall_store_reachable'), 1);
  assert.ok(seen.get('rollcall_store_commit_duration_seconds_count')! >= 2);
  assert.ok(seen.get('rollcall_store_group_commits_count')! >= 1);
  for (const { name } of ALL_COUNTERS) assert.ok(seen.has(`rollcall_${name}_total`), name);
  for (const { name } of ALL_ALARMS) assert.equal(seen.get(`rollcall_alarm{name="${name}"}`), 0, name);
  assert.ok(seen.get('process_resident_memory_bytes')! > 0);
  watch.close();
  await eventually(async () => (await scrape(server.url)).get('rollcall_watches') === 0);
  const post = await fetch(`${server.url}/metrics`, { method: 'POST' });
  assert.equal(post.status, 405);
});

test('the number of series does not depend on what clients name', async (t) => {
  const server = await startServer(t);
  const use = async (service: string): Promise<number> => {
    await register(server, { instance: { namespace: service, service, id: service, address: '10.0.0.1', port: 80 } });
    await discover(server, { namespace: service, service });
    // Node adds some of its own as they occur, such as kinds of garbage collection.
    return [...(await scrape(server.url)).keys()].filter((name) => /^(?:rollcall|grpc_server)_/.test(name)).length;
  };
  const before = await use('first');
  for (let i = 0; i < 20; i++) assert.equal(await use(`s${i}`), before);
});

test('metrics are shown before the store answers, with the alarm', async (t) => {
  const launched = launchServer([...onEtcd(['http://127.0.0.1:1']), '--http-port', '0']);
  t.after(async () => (launched.process.kill('SIGKILL'), launched.exited));
  const url = await eventually(() => {
    const found = /"httpPort":(\d+)/.exec(launched.log.join('\n'));
    return found && `http://127.0.0.1:${found[1]}`;
  });
  await eventually(async () => (await scrape(url)).get('rollcall_alarm{name="STORE_UNAVAILABLE"}') === 1, 20_000);
});
