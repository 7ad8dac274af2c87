import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { Gauge, Registry } from 'prom-client';
import type { BridgeState } from './bridge.js';

/** The metrics of a bridge: name, help, and how each is read. */
const METRICS: readonly (readonly [string, string, (state: BridgeState) => number])[] = [
  ['rollcall_bridge_instances', 'Instances that the bridge keeps.', ({ instances }) => instances],
  [
    'rollcall_bridge_left_alone',
    'Instances that it leaves alone: others have their names, or they were deregistered here.',
    ({ leftAlone }) => leftAlone,
  ],
  [
    'rollcall_bridge_stale_seconds',
    'Seconds since the foreign registry answered last with something to go by.',
    ({ staleForMs }) => staleForMs / 1_000,
  ],
  [
    'rollcall_bridge_failed_reads',
    'Reads of the foreign registry that failed, or that answered with nothing of what it had, since the start.',
    ({ failedReads }) => failedReads,
  ],
  ['rollcall_bridge_registrations', 'Registrations since the start.', ({ registrations }) => registrations],
  ['rollcall_bridge_removals', 'Removals since the start.', ({ removals }) => removals],
];

/** Serves the metrics of a bridge at a port of loopback. Returns the port, and what ends it. */
export async function serveMetrics(
  port: number,
  stateOf: () => BridgeState,
): Promise<{ port: number; close: () => void }> {
  const registry = new Registry();
  for (const [name, help, read] of METRICS)
    new Gauge({
      ...{ name, help, registers: [registry] },
      collect() {
        this.set(read(stateOf()));
      },
    });
  const server = http.createServer((request, response) => {
    if (request.url !== '/metrics') return void response.writeHead(404).end();
    void registry.metrics().then((text) => response.writeHead(200, { 'content-type': registry.contentType }).end(text));
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  return { port: (server.address() as AddressInfo).port, close: () => server.close() };
}
