// A program of its own, for a network of its own: a server, and a listener at an address that is never probed and at one that is.
// Each also has a name. It prints how many connections came to each address, and what the server says of its probes of each target.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import net from 'node:net';
import { createInterface } from 'node:readline';
import { credentials } from '@grpc/grpc-js';
import { ProbeOutcome } from '../../src/gen/rollcall/v1/check.js';
import { Liveness } from '../../src/gen/rollcall/v1/instance.js';
import { getCheckResults, register } from './client.js';
import { TestResolver } from './dns.js';
import { clientsOf, eventually, MAIN, temporaryFolder } from './server.js';

const PORT = 8_080;
const ADDRESSES = ['169.254.7.7', '10.7.7.7'];
/** What the resolver of this network says. The port of it is that of every resolver. */
const NAMES = new Map([
  ['metadata.test', '169.254.7.7'],
  ['database.test', '10.7.7.7'],
]);
const RESOLVER = '127.0.0.53';
const TARGETS = [...ADDRESSES, ...NAMES.keys()];
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
await TestResolver.listen({ after: () => undefined }, RESOLVER, NAMES);
const child = spawn(process.execPath, [MAIN, 'serve', '--grpc-port', '0', '--data-dir', temporaryFolder()], {
  stdio: ['ignore', 'ignore', 'pipe'],
});
process.once('exit', () => child.kill('SIGKILL'));
let port: string | undefined;
createInterface({ input: child.stderr }).on('line', (line) => (port ??= /"grpcPort":(\d+)/.exec(line)?.[1]));
const clients = clientsOf(`127.0.0.1:${await eventually(() => port, 20_000)}`, credentials.createInsecure());
for (const address of TARGETS)
  await register(clients, {
    instance: {
      ...{ service: 'pay', id: address, address, port: PORT, liveness: Liveness.LIVENESS_STATIC },
      checks: [{ probe: { $case: 'tcp', value: {} }, interval: { seconds: 2n, nanos: 0 } }],
    },
    incarnation: 'a',
  });
await new Promise((resolve) => setTimeout(resolve, LOOKED_MS));
const outcomes: Record<string, string> = {};
for (const id of TARGETS) {
  const { checks } = await getCheckResults(clients, { service: 'pay', id });
  const outcome = checks[0]!.results[0]?.outcome;
  outcomes[id] = outcome === undefined ? 'none' : ProbeOutcome[outcome];
}
process.stdout.write(JSON.stringify({ connections: Object.fromEntries(connections), outcomes }));
process.exit(0);
