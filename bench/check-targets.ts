// The targets of `npm run bench -- checks`, in a process of their own: one listener per kind, at every address of 127/8. A message
// { kind, state } from the parent makes those of a kind refuse connections, or take them and never answer.
import http from 'node:http';
import https from 'node:https';
import net, { type AddressInfo } from 'node:net';
import { Server, ServerCredentials } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { DAY_MS } from '../src/model/time.js';
import { Authority } from '../src/tls/authority.js';

const HOST = '0.0.0.0';
const silent = new Set<string>();

const answer =
  (kind: string): http.RequestListener =>
  (_, response) => {
    if (!silent.has(kind)) response.end('ok');
  };

async function listen(server: net.Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, HOST, 4_096, resolve));
  return (server.address() as AddressInfo).port;
}

const authority = await Authority.create('bench', DAY_MS);
const alternatives = [{ type: 'dns', value: 'bench.test' }] as const;
const pair = await authority.issue({ name: 'bench.test', alternatives, validMs: DAY_MS });
const servers: Record<string, net.Server> = {
  tcp: net.createServer((socket) => socket.on('error', () => undefined).resume()),
  http: http.createServer(answer('http')),
  https: https.createServer({ cert: pair.cert, key: pair.key }, answer('https')),
  refusing: http.createServer(answer('refusing')),
  silent: http.createServer(answer('silent')),
};
const ports: Record<string, number> = {};
for (const [kind, server] of Object.entries(servers)) ports[kind] = await listen(server);
const grpc = new Server();
new HealthImplementation({ '': 'SERVING' }).addToServer(grpc);
ports['grpc'] = await new Promise<number>((resolve, reject) =>
  grpc.bindAsync(`${HOST}:0`, ServerCredentials.createInsecure(), (error, port) =>
    error ? reject(error) : resolve(port),
  ),
);
process.on('message', ({ kind, state }: { kind: string; state: 'refuse' | 'silence' }) => {
  if (state === 'silence') silent.add(kind);
  else servers[kind]!.close();
});
process.send!(ports);
