// A program of its own, for a network of its own: a server, and a listener at an address that is never probed and at one that is.
// It prints, for each address, how many connections came and what the server says of its probes.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { credentials } from '@grpc/grpc-js';
import { ProbeOutcome } from '../../src/gen/rollcall/v1/check.js';
import { Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { getCheckResults, register } from './client.js';
import { clientsOf, eventually, MAIN, temporaryFolder } from './server.js';

const PORT = 8_080;
const ADDRESSES = ['169.254.7.7', '10.7.7.7'];
/** Several probes of each. */
const LOOKED_MS = 6_000;

const connections = new Map<string, number>();
for (const address of ADDRESSES) {
  connections.set(address, 0);
  const server = net.createServer((socket) => {
    connections.set(address, connections.get(address)! + 1);
    socket.on('error', () => undefined).resume();
  });
  server.listen(PORT, address);
  await once(server, 'listening');
}
const child = spawn(process.execPath, [MAIN, 'serve', '--grpc-port', '0', '--data-dir', temporaryFolder()], {
  stdio: ['ignore', 'ignore', 'pipe'],
});
process.once('exit', () => child.kill('SIGKILL'));
let port: string | undefined;
createInterface({ input: child.stderr }).on('line', (line) => (port ??= /"grpcPort":(\d+)/.exec(line)?.[1]));
const clients = clientsOf(`127.0.0.1:${await eventually(() => port, 20_000)}`, credentials.createInsecure());
for (const address of ADDRESSES)
  await register(clients, {
    instance: {
      ...{ service: 'pay', id: address, address, port: PORT, liveness: Liveness.LIVENESS_STATIC },
      checks: [{ probe: { $case: 'tcp', value: {} }, interval: { seconds: 2n, nanos: 0 } }],
    },
    incarnation: 'a',
  });
await new Promise((resolve) => setTimeout(resolve, LOOKED_MS));
const told: Record<string, object> = {};
for (const address of ADDRESSES) {
  const { checks } = await getCheckResults(clients, { service: 'pay', id: address });
  const outcome = checks[0]!.results[0]?.outcome;
  told[address] = {
    connections: connections.get(address),
    outcome: outcome === undefined ? 'none' : ProbeOutcome[outcome],
  };
}
process.stdout.write(JSON.stringify(told));
process.exit(0);
