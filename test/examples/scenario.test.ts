import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { get as httpGet } from 'node:http';
import { get as httpsGet } from 'node:https';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import {
  type CallError,
  Client,
  type ClientOptions,
  follow,
  Health,
  type RegistrationEvent,
} from '../../src/client/index.js';
import { accessFile, callerWith } from '../support/access.js';
import { authority } from '../support/certificates.js';
import { freePorts, startEtcd } from '../support/etcd.js';
import { Example, LANGUAGES } from '../support/examples.js';
import { eventually, onEtcd, pause, type ServerProcess, startWith, temporaryFolder } from '../support/server.js';

const TTL_S = 4;
/** A runtime may need this long until it is at work: the first start of a Java machine beside six others. */
const START_MAX_MS = 40_000;
/** A change must be seen after this, also by a client that has to find another server first. */
const SEEN_MAX_MS = 12_000;
/** A version that stood for this long must not be missed. */
const STOOD_MS = 2_000;
const KEY = 'hello.yaml';
const EXIT_OVER = 3;
const EVERY_STATE = [Health.HEALTH_HEALTHY, Health.HEALTH_DEGRADED, Health.HEALTH_UNHEALTHY, Health.HEALTH_DRAINING];

/** Servers that a fault can befall. */
interface Stage {
  readonly addresses: readonly string[];
  readonly servers: ServerProcess[];
  /** Starts a server in the place of one that has ended. */
  restart(at: number): Promise<void>;
  /** How a client reaches the servers: the examples by variables, the test by options. */
  readonly env: NodeJS.ProcessEnv;
  readonly options: Omit<ClientOptions, 'addresses'>;
  /** How long the servers may wait with their first verdict: members that have just joined wait for one another. */
  readonly verdictMaxMs: number;
}

/** One server on the embedded store, without TLS. */
async function oneServer(t: TestContext): Promise<Stage> {
  const [port] = await freePorts(1);
  const folder = temporaryFolder();
  const start = (): Promise<ServerProcess> =>
    startWith(t, ['--data-dir', folder, '--grpc-port', String(port), '--http-port', '0'], []);
  const servers = [await start()];
  return {
    addresses: [`127.0.0.1:${port}`],
    servers,
    restart: async (at) => void (servers[at] = await start()),
    env: {},
    options: {},
    verdictMaxMs: 3 * TTL_S * 1_000,
  };
}

/** Three servers on etcd, with TLS and tokens. */
async function threeServers(t: TestContext): Promise<Stage> {
  const [etcd, ca, ports] = await Promise.all([startEtcd(t, { members: 3 }), authority('examples'), freePorts(3)]);
  const pair = await ca.issue('server');
  const services = callerWith(
    'services',
    '{ role: service, namespaces: ["*"], services: ["*"] }',
    '{ role: reader, namespaces: ["*"] }',
  );
  const operator = callerWith('operator', '{ role: admin, namespaces: ["*"] }');
  const access = accessFile([services, operator]);
  const token = join(temporaryFolder(), 'token');
  writeFileSync(token, `${services.token}\n`);
  const start = (at: number): Promise<ServerProcess> =>
    startWith(
      t,
      [
        ...onEtcd(etcd.endpoints),
        ...['--node', `n${at}`, '--grpc-port', String(ports[at]), '--http-port', '0'],
        ...['--tls-cert', pair.certFile, '--tls-key', pair.keyFile, '--peer-ca', ca.certFile, '--access', access],
      ],
      [],
    );
  const servers = [await start(0), await start(1), await start(2)];
  return {
    addresses: ports.map((port) => `127.0.0.1:${port}`),
    servers,
    restart: async (at) => void (servers[at] = await start(at)),
    env: { ROLLCALL_CA: ca.certFile, ROLLCALL_TOKEN_FILE: token },
    options: { tls: { ca: Buffer.from(ca.cert) }, token: () => operator.token },
    verdictMaxMs: 90_000,
  };
}

/** What an observer saw of each instance of the examples: "+" when it came into the view, "-" when it left it. */
function observe(t: TestContext, client: Client, services: readonly string[]): Map<string, string> {
  const seen = new Map<string, string>();
  const shown = new Set<string>();
  const stop = new AbortController();
  t.after(() => stop.abort());
  const { signal } = stop;
  const open = (resumeToken: string) =>
    client.registry.watchServices({ services: [...services], resumeToken }, { signal });
  const note = (service: string, sign: string): void => void seen.set(service, (seen.get(service) ?? '') + sign);
  void (async () => {
    for await (const { kind, messages } of follow(open, { signal })) {
      const gone = kind === 'snapshot' ? new Set(shown) : new Set<string>();
      for (const { upserted, removed } of messages) {
        for (const { service } of upserted) {
          gone.delete(service);
          if (!shown.has(service)) note(service, '+');
          shown.add(service);
        }
        for (const { service } of removed) gone.add(service);
      }
      for (const service of gone) if (shown.delete(service)) note(service, '-');
    }
  })();
  return seen;
}

/** Publishes versions, and notes which of them stood long enough. */
class Publisher {
  #version = 0n;
  #sinceMs = 0;
  readonly stood: bigint[] = [];

  constructor(private readonly client: Client) {}

  async publish(): Promise<bigint> {
    this.#replaced();
    const text = `revision: ${performance.now()}`;
    const draft = { key: KEY, content: { $case: 'text' as const, value: text } };
    // The server that the client has called so far may have just died.
    const published = await eventually(() =>
      this.client.config.publishConfig({ configs: [draft] }).catch((error: CallError) => {
        if (!error.isPassing) throw error;
        return undefined;
      }),
    );
    const { configs } = published;
    return this.#begin(configs[0]!.version);
  }

  async delete(): Promise<void> {
    this.#replaced();
    await this.client.config.deleteConfig({ key: KEY });
    this.#version = 0n;
  }

  #begin(version: bigint): bigint {
    this.#version = version;
    this.#sinceMs = performance.now();
    return version;
  }

  #replaced(): void {
    if (this.#version > 0n && performance.now() - this.#sinceMs >= STOOD_MS) this.stood.push(this.#version);
  }
}

/** Runs the examples of all languages through the life of a service, and shows what they printed if that fails. */
async function scenario(t: TestContext, stage: Stage): Promise<void> {
  const started: Example[] = [];
  try {
    await liveThrough(t, stage, started);
  } catch (error) {
    for (const line of started.flatMap((example) => example.said)) t.diagnostic(line);
    throw error;
  }
}

async function liveThrough(t: TestContext, stage: Stage, started: Example[]): Promise<void> {
  assert.ok(LANGUAGES.length > 0, 'ROLLCALL_TEST_EXAMPLES names the languages; npm run test:examples sets it');
  const clients: Client[] = [];
  const open = (): Client => {
    const client = new Client({ addresses: stage.addresses, ...stage.options });
    clients.push(client);
    return client;
  };
  t.after(() => Promise.all(clients.map((client) => client.close().catch(() => undefined))));
  const client = open();
  const serviceOf = (language: string): string => `hello-${language}`;
  const seen = observe(t, open(), LANGUAGES.map(serviceOf));
  const start = (language: string): Example => {
    const example = Example.start(t, language, {
      ...stage.env,
      ROLLCALL_SERVERS: stage.addresses.join(','),
      SERVICE: serviceOf(language),
      INSTANCE_ID: 'a',
      TTL_SECONDS: String(TTL_S),
      WATCH_SERVICE: 'peer',
      CONFIG_KEY: KEY,
    });
    started.push(example);
    return example;
  };
  let examples = LANGUAGES.map(start);
  const all = (step: (example: Example) => Promise<unknown>): Promise<unknown[]> => Promise.all(examples.map(step));
  const registered = (example: Example): Promise<void> =>
    example.prints(`registered ${serviceOf(example.language)}/a`, START_MAX_MS);
  const sawEach = (wanted: string, withinMs = SEEN_MAX_MS): Promise<unknown> =>
    eventually(() => LANGUAGES.every((language) => seen.get(serviceOf(language)) === wanted), withinMs).catch(() =>
      assert.deepEqual(
        LANGUAGES.map((language) => [language, seen.get(serviceOf(language))]),
        LANGUAGES.map((language) => [language, wanted]),
      ),
    );
  const publisher = new Publisher(client);
  const publishSeen = async (): Promise<void> => {
    const version = await publisher.publish();
    await all((example) => example.prints(`config ${KEY} ${version}`, SEEN_MAX_MS));
  };

  // The start.
  await all(registered);
  await all((example) => example.prints(`config ${KEY} missing`, SEEN_MAX_MS));
  await sawEach('+');

  // A process that is frozen counts as silent. One that was registered for less than a minute expires then, and registers again.
  for (const { process } of examples) process.kill('SIGSTOP');
  await sawEach('+-', stage.verdictMaxMs);
  const isGone = async (language: string): Promise<boolean> => {
    const filter = { healthStates: EVERY_STATE };
    return (await client.discover(serviceOf(language), { filter })).length === 0;
  };
  const areGone = async (): Promise<boolean> => (await Promise.all(LANGUAGES.map(isGone))).every(Boolean);
  const expire = stage.servers.length === 1;
  if (expire) await eventually(areGone, 10 * TTL_S * 1_000);
  for (const { process } of examples) process.kill('SIGCONT');
  await sawEach('+-+', START_MAX_MS);
  if (expire) {
    const twice = (example: Example): Promise<unknown> =>
      eventually(() => example.lines.filter((line) => line.startsWith('registered')).length === 2);
    await all(twice);
  }

  // Another service, and a config.
  const peer = await open().register({ service: 'peer', id: 'p1', address: '10.0.0.1', port: 1 });
  await all((example) => example.prints('instances peer: p1', SEEN_MAX_MS));
  await publishSeen();
  await pause(STOOD_MS);

  // A server that dies, and one that is stopped. Where there are others, clients go on meanwhile.
  const isReady = (): Promise<boolean> =>
    client.admin
      .getStatus()
      .then(({ ready }) => ready)
      .catch(() => false);
  const restarts: Promise<void>[] = [];
  for (const [how, at] of [
    ['SIGKILL', 0],
    ['SIGTERM', stage.servers.length - 1],
  ] as const) {
    const server = stage.servers[at]!;
    await noResets(server, stage);
    server.process.kill(how);
    await server.exited;
    if (stage.servers.length > 1) await publishSeen();
    await pause(STOOD_MS);
    restarts.push(stage.restart(at));
    if (stage.servers.length === 1) await restarts.at(-1);
    await eventually(isReady, 90_000);
    await publishSeen();
    await pause(STOOD_MS);
  }
  await Promise.all(restarts);
  await publisher.delete();
  await all((example) => example.prints(`config ${KEY} deleted`, SEEN_MAX_MS));
  await publishSeen();
  const before = examples.map(({ lines }) => lines.length);
  await peer.close();
  await all((example) => example.prints('instances peer: -', SEEN_MAX_MS, before[examples.indexOf(example)]));
  await sawEach('+-+');

  // A newer process takes the id over, and leaves.
  await all(async (example) => {
    const events: RegistrationEvent[] = [];
    const instance = { service: serviceOf(example.language), id: 'a', address: '10.0.0.2', port: 2 };
    const newer = await client.register(instance, { onEvent: (event) => events.push(event) });
    await example.prints('over SUPERSEDED', SEEN_MAX_MS);
    assert.equal(await example.exit(SEEN_MAX_MS), EXIT_OVER, example.language);
    assert.ok(events.every(({ kind }) => kind !== 'over'));
    await newer.close();
  });
  await sawEach('+-+-');

  // A process that is deregistered stops for good.
  const superseded = examples;
  examples = LANGUAGES.map(start);
  await all(registered);
  await sawEach('+-+-+');
  await all(async (example) => {
    await client.registry.deregister({ service: serviceOf(example.language), id: 'a' });
    await example.prints('over DEREGISTERED', SEEN_MAX_MS);
    assert.equal(await example.exit(SEEN_MAX_MS), EXIT_OVER, example.language);
  });
  await sawEach('+-+-+-');

  // A process that is stopped leaves in order.
  examples = LANGUAGES.map(start);
  await all(registered);
  await sawEach('+-+-+-+');
  await all(async (example) => {
    example.process.kill('SIGTERM');
    assert.equal(await example.exit(SEEN_MAX_MS), 0, example.language);
    assert.equal(example.lines.at(-1), 'deregistered', example.language);
  });
  await sawEach('+-+-+-+-');
  assert.ok(await areGone());

  for (const example of superseded) {
    const missed = publisher.stood.filter((version) => !example.lines.includes(`config ${KEY} ${version}`));
    assert.deepEqual(missed, [], `${example.language} missed versions that stood for ${STOOD_MS} ms`);
    const resets = example.lines.filter((line) => line.startsWith('reset'));
    assert.deepEqual(resets, [], example.language);
  }
  assert.ok(publisher.stood.length >= 3);
  for (const server of stage.servers) await noResets(server, stage);
}

/** Asserts that every watch of a server could go on from its token. */
async function noResets(server: ServerProcess, { options }: Stage): Promise<void> {
  const { tls, token } = options;
  const url = `${tls ? server.url.replace('http:', 'https:') : server.url}/metrics`;
  const headers = token ? { authorization: `Bearer ${await token()}` } : {};
  const text = await new Promise<string>((resolve, reject) => {
    const ask = tls ? httpsGet(url, { ca: tls.ca, headers }) : httpGet(url, { headers });
    ask.on('error', reject).on('response', (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString())).on('end', () => resolve(body));
    });
  });
  assert.match(text, /^rollcall_watches_reset_total 0$/m);
}

test('the examples of all languages live through the faults of one server', async (t) => {
  await scenario(t, await oneServer(t));
});

test('the examples of all languages live through the faults of three servers with TLS and tokens', async (t) => {
  await scenario(t, await threeServers(t));
});
