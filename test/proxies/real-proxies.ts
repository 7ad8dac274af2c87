import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { credentials } from '@grpc/grpc-js';
import { ConfigServiceClient, RegistryServiceClient } from '../support/clients.js';
import { freePorts } from '../support/etcd.js';
import { eventually, type ServerProcess, temporaryFolder } from '../support/server.js';

/** A proxy that ends a stream on which nothing was sent for this long: longer than the interval of bookmarks. */
export const IDLE_S = 20;

/** The settings of a route that tests change. */
export interface Route {
  /** How long a stream may last. Envoy only. Default: for ever, as a route for watches must be set. */
  readonly streamMaxS?: number;
}

/** A proxy that runs in front of a server. */
export interface RealProxy {
  readonly registry: RegistryServiceClient;
  readonly config: ConfigServiceClient;
}

/** Starts a proxy in front of a server; it ends with the test. */
export type StartProxy = (t: TestContext, server: ServerProcess, route?: Route) => Promise<RealProxy>;

const found = new Map<string, string>();

/** The program, fetched if need be. */
function programOf(name: 'nginx' | 'envoy'): string {
  const script = new URL(`../../scripts/${name}.js`, import.meta.url).pathname;
  const known = found.get(name) ?? execFileSync(process.execPath, [script], { encoding: 'utf8' }).trim();
  found.set(name, known);
  return known;
}

/** nginx with the settings of docs/guides/behind-a-proxy.md. */
export const startNginx: StartProxy = async (t, server) => {
  const folder = temporaryFolder();
  const [port] = await freePorts(1);
  mkdirSync(join(folder, 'logs'));
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map(
    (of) => `${of}_temp_path ${folder}/${of};`,
  );
  const file = join(folder, 'nginx.conf');
  writeFileSync(
    file,
    `
daemon off;
master_process off;
pid ${folder}/pid;
error_log ${folder}/logs/error.log;
events { worker_connections 8192; }
http {
  access_log off;
  ${temporary.join('\n  ')}
  server {
    listen 127.0.0.1:${port} http2;
    http2_max_concurrent_streams 2000;
    keepalive_requests 1000000;
    client_max_body_size 0;
    client_body_timeout ${IDLE_S}s;
    location / {
      grpc_pass grpc://${server.address};
      grpc_read_timeout ${IDLE_S}s;
      grpc_send_timeout ${IDLE_S}s;
    }
  }
}
`,
  );
  return run(t, spawn(programOf('nginx'), ['-p', folder, '-c', file], { stdio: 'ignore' }), port!);
};

/** Envoy with the settings of docs/guides/behind-a-proxy.md. */
export const startEnvoy: StartProxy = async (t, server, { streamMaxS } = {}) => {
  const folder = temporaryFolder();
  const [port] = await freePorts(1);
  const [host, target] = server.address.split(':');
  const http2 = { explicit_http_config: { http2_protocol_options: { max_concurrent_streams: 1_000 } } };
  const address = (of: string, portValue: number): object => ({
    socket_address: { address: of, port_value: portValue },
  });
  const thresholds = ['max_connections', 'max_pending_requests', 'max_requests'].map((name) => [name, 20_000] as const);
  const manager = {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager',
    stat_prefix: 'rollcall',
    codec_type: 'HTTP2',
    stream_idle_timeout: `${IDLE_S}s`,
    http2_protocol_options: { max_concurrent_streams: 2_000 },
    http_filters: [
      {
        name: 'envoy.filters.http.router',
        typed_config: { '@type': 'type.googleapis.com/envoy.extensions.filters.http.router.v3.Router' },
      },
    ],
    route_config: {
      virtual_hosts: [
        {
          name: 'rollcall',
          domains: ['*'],
          routes: [
            {
              match: { prefix: '/' },
              route: {
                cluster: 'rollcall',
                timeout: '0s',
                max_stream_duration: { max_stream_duration: streamMaxS ? `${streamMaxS}s` : '0s' },
              },
            },
          ],
        },
      ],
    },
  };
  const config = {
    static_resources: {
      listeners: [
        {
          address: address('127.0.0.1', port!),
          filter_chains: [
            { filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] },
          ],
        },
      ],
      clusters: [
        {
          name: 'rollcall',
          type: 'STATIC',
          connect_timeout: '1s',
          circuit_breakers: { thresholds: [Object.fromEntries(thresholds)] },
          typed_extension_protocol_options: {
            'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
              '@type': 'type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions',
              ...http2,
            },
          },
          load_assignment: {
            cluster_name: 'rollcall',
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(host!, Number(target)) } }] }],
          },
        },
      ],
    },
  };
  const file = join(folder, 'envoy.json');
  writeFileSync(file, JSON.stringify(config));
  const args = ['-c', file, '--concurrency', '1', '--disable-hot-restart', '--log-level', 'error'];
  return run(t, spawn(programOf('envoy'), args, { stdio: 'ignore' }), port!);
};

/** Waits until a proxy takes connections. */
async function run(t: TestContext, proxy: ChildProcess, port: number): Promise<RealProxy> {
  const exited = once(proxy, 'exit');
  const target = `127.0.0.1:${port}`;
  const registry = new RegistryServiceClient(target, credentials.createInsecure());
  const config = new ConfigServiceClient(target, credentials.createInsecure());
  t.after(async () => {
    registry.close();
    config.close();
    proxy.kill('SIGKILL');
    await exited;
  });
  await eventually(() => {
    if (proxy.exitCode !== null) throw new Error(`the proxy ended with ${proxy.exitCode}`);
    return takesConnections(port);
  });
  return { registry, config };
}

function takesConnections(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    socket.on('connect', () => resolve(true));
    socket.on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
